#include "wire/messages.hpp"

#include "wire/limits.hpp"

#include <algorithm>

namespace signalbox::wire {
namespace {

template <class T>
result<T> finished(const byte_reader& in, T value) noexcept {
    if (const auto ec = in.finish()) {
        return ec;
    }
    return value;
}

}  // namespace

result<std::string_view> parse_query(bytes_view body) noexcept {
    byte_reader in{body};
    const auto text = in.cstring();
    return finished(in, text);
}

result<parse_message> parse_parse(bytes_view body) noexcept {
    byte_reader in{body};
    const auto name = in.cstring();
    const auto tail_at = body.size() - in.remaining();
    const auto text = in.cstring();
    const std::size_t count = in.u16();
    in.bytes(count * 4);
    return finished(
        in, parse_message{name, text, in.failed() ? bytes_view{} : body.substr(tail_at)}
    );
}

result<bind_names> parse_bind_names(bytes_view body) noexcept {
    byte_reader in{body};
    const auto portal = in.cstring();
    const auto statement = in.cstring();
    if (in.failed()) {
        return wire_errc::truncated;
    }
    return bind_names{portal, statement, body.size() - in.remaining()};
}

result<std::size_t> write_bind_with_parameter(
    std::string& out, bytes_view body, std::size_t parameter, std::string_view value
) {
    byte_reader in{body};
    const auto portal = in.cstring();
    const auto statement = in.cstring();
    std::vector<std::uint16_t> formats(in.u16());
    for (auto& each : formats) {
        each = in.u16();
    }
    const auto count = in.u16();
    const auto values_begin = body.size() - in.remaining();
    for (auto left = count; left > 0 && !in.failed(); --left) {
        if (const auto size = in.i32(); size > 0) {
            in.bytes(static_cast<std::size_t>(size));
        }
    }
    const auto values_end = body.size() - in.remaining();
    if (in.failed()) {
        return wire_errc::truncated;
    }
    if (std::size_t{count} + 1 != parameter) {
        return std::size_t{count};
    }
    // One format stands for all parameters, none for text.
    if (formats.size() <= 1) {
        formats.assign(count, formats.empty() ? std::uint16_t{0} : formats.front());
    }
    formats.push_back(1);
    message_writer msg{out, client_message::bind};
    msg.cstring(portal).cstring(statement).u16(static_cast<std::uint16_t>(formats.size()));
    for (const auto each : formats) {
        msg.u16(each);
    }
    msg.u16(static_cast<std::uint16_t>(count + 1))
        .bytes(body.substr(values_begin, values_end - values_begin))
        .u32(static_cast<std::uint32_t>(value.size()))
        .bytes(value)
        .bytes(in.remainder());
    return std::size_t{count};
}

result<std::vector<std::uint16_t>> parse_bind_result_formats(bytes_view body) {
    byte_reader in{body};
    in.cstring();
    in.cstring();
    for (auto left = in.u16(); left > 0 && !in.failed(); --left) {
        in.u16();
    }
    for (auto left = in.u16(); left > 0 && !in.failed(); --left) {
        if (const auto size = in.i32(); size > 0) {
            in.bytes(static_cast<std::size_t>(size));
        }
    }
    std::vector<std::uint16_t> formats;
    for (auto left = in.u16(); left > 0 && !in.failed(); --left) {
        formats.push_back(in.u16());
        if (formats.back() > 1) {
            return wire_errc::bad_length;
        }
    }
    if (const auto ec = in.finish()) {
        return ec;
    }
    return formats;
}

result<named_target> parse_named_target(bytes_view body) noexcept {
    byte_reader in{body};
    const auto kind = static_cast<char>(in.u8());
    const auto name = in.cstring();
    return finished(in, named_target{kind, name});
}

result<std::string_view> parse_execute_portal(bytes_view body) noexcept {
    byte_reader in{body};
    const auto portal = in.cstring();
    in.u32();
    return finished(in, portal);
}

result<std::string_view> parse_password(bytes_view body) noexcept {
    byte_reader in{body};
    const auto password = in.cstring();
    return finished(in, password);
}

result<sasl_initial_response> parse_sasl_initial_response(bytes_view body) noexcept {
    byte_reader in{body};
    const auto mechanism = in.cstring();
    const auto length = in.i32();
    if (in.failed()) {
        return wire_errc::truncated;
    }
    if (length < -1) {
        return wire_errc::bad_length;
    }
    const auto data = length < 0 ? bytes_view{} : in.bytes(static_cast<std::size_t>(length));
    return finished(in, sasl_initial_response{mechanism, data});
}

result<parameter_status> parse_parameter_status(bytes_view body) noexcept {
    byte_reader in{body};
    const auto name = in.cstring();
    const auto value = in.cstring();
    return finished(in, parameter_status{name, value});
}

result<backend_key_data> parse_backend_key_data(bytes_view body) {
    byte_reader in{body};
    const auto process_id = in.u32();
    if (in.remaining() > max_secret_bytes) {
        return wire_errc::bad_length;
    }
    const auto secret = in.bytes(std::max(in.remaining(), min_secret_bytes));
    return finished(in, backend_key_data{process_id, std::string{secret}});
}

result<notification> parse_notification(bytes_view body) noexcept {
    byte_reader in{body};
    const auto process_id = in.u32();
    const auto channel = in.cstring();
    const auto payload = in.cstring();
    return finished(in, notification{process_id, channel, payload});
}

result<authentication_request> parse_authentication(bytes_view body) noexcept {
    byte_reader in{body};
    const auto kind = in.u32();
    const auto data = in.remainder();
    return finished(
        in, authentication_request{static_cast<authentication_request::type>(kind), data}
    );
}

result<char> parse_ready_for_query(bytes_view body) noexcept {
    byte_reader in{body};
    const auto status = static_cast<char>(in.u8());
    if (const auto ec = in.finish()) {
        return ec;
    }
    if (status != 'I' && status != 'T' && status != 'E') {
        return wire_errc::bad_length;
    }
    return status;
}

result<std::string_view> parse_command_complete(bytes_view body) noexcept {
    return parse_query(body);
}

result<void> parse_data_row(bytes_view body, std::vector<std::optional<std::string_view>>& fields) {
    byte_reader in{body};
    const std::size_t count = in.u16();
    for (std::size_t i = 0; i < count && !in.failed(); ++i) {
        const auto length = in.i32();
        if (in.failed()) {
            break;
        }
        if (length < -1) {
            return wire_errc::bad_length;
        }
        if (length < 0) {
            fields.emplace_back(std::nullopt);
        } else {
            fields.emplace_back(in.bytes(static_cast<std::size_t>(length)));
        }
    }
    if (const auto ec = in.finish()) {
        return ec;
    }
    return {};
}

std::optional<std::string_view> parse_only_field(bytes_view body) noexcept {
    byte_reader in{body};
    const auto count = in.u16();
    const auto length = in.i32();
    if (in.failed() || count != 1 || length < 0) {
        return std::nullopt;
    }
    const auto field = in.bytes(static_cast<std::size_t>(length));
    return in.finish() ? std::nullopt : std::optional{field};
}

void write_query(std::string& out, std::string_view sql) {
    message_writer{out, client_message::query}.cstring(sql);
}

void write_parse(std::string& out, std::string_view name, bytes_view tail) {
    message_writer{out, client_message::parse}.cstring(name).bytes(tail);
}

void write_named_target(std::string& out, char type, char kind, std::string_view name) {
    message_writer{out, type}.u8(static_cast<std::uint8_t>(kind)).cstring(name);
}

void write_sync(std::string& out) {
    write_empty(out, client_message::sync);
}

void write_terminate(std::string& out) {
    write_empty(out, client_message::terminate);
}

void write_password(std::string& out, std::string_view password) {
    message_writer{out, client_message::password}.cstring(password);
}

void write_sasl_initial_response(std::string& out, std::string_view mechanism, bytes_view data) {
    message_writer{out, client_message::password}
        .cstring(mechanism)
        .u32(static_cast<std::uint32_t>(data.size()))
        .bytes(data);
}

void write_sasl_response(std::string& out, bytes_view data) {
    message_writer{out, client_message::password}.bytes(data);
}

void write_parameterized_query(
    std::string& out, std::string_view sql, const std::vector<std::string_view>& parameters
) {
    message_writer{out, client_message::parse}.cstring("").cstring(sql).u16(0);
    {
        message_writer bind{out, client_message::bind};
        bind.cstring("").cstring("").u16(0).u16(static_cast<std::uint16_t>(parameters.size()));
        for (const auto value : parameters) {
            bind.u32(static_cast<std::uint32_t>(value.size())).bytes(value);
        }
        bind.u16(0);
    }
    message_writer{out, client_message::execute}.cstring("").u32(0);
    write_sync(out);
}

void write_authentication(std::string& out, authentication_request::type kind, bytes_view data) {
    message_writer{out, server_message::authentication}
        .u32(static_cast<std::uint32_t>(kind))
        .bytes(data);
}

void write_parameter_status(std::string& out, std::string_view name, std::string_view value) {
    message_writer{out, server_message::parameter_status}.cstring(name).cstring(value);
}

void write_backend_key_data(std::string& out, const backend_key_data& key) {
    message_writer{out, server_message::backend_key_data}.u32(key.process_id).bytes(key.secret);
}

void write_ready_for_query(std::string& out, char status) {
    message_writer{out, server_message::ready_for_query}.u8(static_cast<std::uint8_t>(status));
}

void write_command_complete(std::string& out, std::string_view tag) {
    message_writer{out, server_message::command_complete}.cstring(tag);
}

void write_empty(std::string& out, char type) {
    message_writer{out, type};
}

void write_negotiate_protocol_version(
    std::string& out, std::uint32_t newest, const std::vector<std::string_view>& unknown_options
) {
    message_writer msg{out, server_message::negotiate_protocol_version};
    msg.u32(newest).u32(static_cast<std::uint32_t>(unknown_options.size()));
    for (const auto option : unknown_options) {
        msg.cstring(option);
    }
}

}  // namespace signalbox::wire
