// POSTGRES: a PostgreSQL server, or several of which one will do.
#include "catalog/files.hpp"
#include "catalog/kinds.hpp"
#include "catalog/option_reader.hpp"
#include "catalog/units.hpp"

#include <charconv>
#include <utility>

namespace signalbox::catalog {
namespace {

constexpr std::size_t max_key_bytes = 65'536;
constexpr std::string_view pem_start = "-----BEGIN";

constexpr auto described_options = std::to_array<option_description>(
    {{"HOST", option_form::text, true},
     {"PORT", option_form::number, true},
     {"DATABASE", option_form::text},
     {"USER", option_form::text},
     {"PASSWORD", option_form::secret},
     {"SSL MODE", option_form::choice},
     {"SSL CERTIFICATE AUTHORITY", option_form::text},
     {"SSL CERTIFICATE", option_form::text},
     {"SSL KEY", option_form::secret},
     {"SSL NEGOTIATION", option_form::choice},
     {"CHANNEL BINDING", option_form::choice},
     {"TARGET SESSION ATTRS", option_form::choice},
     {"CONNECT TIMEOUT", option_form::number},
     {"TCP USER TIMEOUT", option_form::number},
     {"MAX PROTOCOL VERSION", option_form::choice},
     {"AWS PRIVATELINK", option_form::connection}}
);

constexpr auto option_names = names_of(described_options);

constexpr auto ssl_modes = std::to_array<named_choice<ssl_mode>>(
    {{"disable", ssl_mode::disable},
     {"allow", ssl_mode::allow},
     {"prefer", ssl_mode::prefer},
     {"require", ssl_mode::require},
     {"verify-ca", ssl_mode::verify_ca},
     {"verify-full", ssl_mode::verify_full}}
);

constexpr auto ssl_negotiations = std::to_array<named_choice<ssl_negotiation>>(
    {{"postgres", ssl_negotiation::postgres}, {"direct", ssl_negotiation::direct}}
);

constexpr auto channel_bindings = std::to_array<named_choice<channel_binding>>(
    {{"disable", channel_binding::disable},
     {"prefer", channel_binding::prefer},
     {"require", channel_binding::require}}
);

constexpr auto protocol_versions = std::to_array<named_choice<std::uint32_t>>(
    {{"3.0", wire::protocol_3_0}, {"3.2", wire::protocol_3_2}, {"latest", wire::newest_protocol}}
);

constexpr auto session_attributes = std::to_array<named_choice<target_session_attrs>>(
    {{"any", target_session_attrs::any},
     {"read-write", target_session_attrs::read_write},
     {"read-only", target_session_attrs::read_only},
     {"primary", target_session_attrs::primary},
     {"standby", target_session_attrs::standby},
     {"prefer-standby", target_session_attrs::prefer_standby}}
);

/// A name or an address; or a socket's directory, in which everything may stand.
bool is_host(std::string_view text) {
    if (text.starts_with('/') || text.starts_with('@')) {
        return true;
    }
    const bool has_port = std::ranges::count(text, ':') == 1;  // an address has at least two
    return !has_port && std::ranges::all_of(text, [](char c) {
        const auto byte = static_cast<unsigned char>(c);
        return byte > ' ' && byte != 0x7f && c != '/' && c != '@';
    });
}

std::vector<std::string> read_hosts(const option_reader& from) {
    const std::string host = from.word("HOST");
    if (!from.has("HOST")) {
        from.refuse_missing("HOST", "Write " + host + " = 'db.example.com'.");
    }
    std::vector<std::string> out = from.list("HOST");
    for (const std::string& each : out) {
        if (each.empty() || each.find(',') != std::string::npos) {
            from.refuse(
                "HOST",
                out.size() == 1 ? "it is empty" : "the list has an empty element",
                "Write one host, or several as 'a,b', each with a name."
            );
        }
        if (!is_host(each)) {
            // A URI may hold a password, so it is not repeated.
            from.refuse(
                "HOST",
                "it is neither a name nor an address nor a directory",
                "For example 'db.example.com', '10.0.0.1' or '/run/postgresql'; user, port and "
                "database are options of their own."
            );
        }
    }
    return out;
}

std::vector<std::uint16_t> read_ports(const option_reader& from) {
    constexpr std::uint16_t default_port = 5432;
    if (!from.has("PORT")) {
        return {default_port};
    }
    std::vector<std::uint16_t> out;
    for (const std::string& text : from.list("PORT")) {
        std::uint16_t port = default_port;  // of an empty element, as in libpq's list
        const char* const end = text.data() + text.size();
        const auto [stop, ec] = std::from_chars(text.data(), end, port);
        if (!text.empty() && (ec != std::errc{} || stop != end || port == 0)) {
            from.refuse_value(
                "PORT", text, "A number from 1 to 65535, usually 5432; several as '5432,5433'."
            );
        }
        out.push_back(port);
    }
    return out;
}

void read_addresses(const option_reader& from, postgres_connection& out) {
    const std::vector<std::string> hosts = read_hosts(from);
    const std::vector<std::uint16_t> ports = read_ports(from);
    if (ports.size() != 1 && ports.size() != hosts.size()) {
        from.refuse(
            "PORT",
            std::to_string(ports.size()) + " ports for " + std::to_string(hosts.size()) + " hosts",
            "Give one port for all hosts, or one for each."
        );
    }
    for (std::size_t at = 0; at < hosts.size(); ++at) {
        out.hosts.push_back({.host = hosts[at], .port = ports.size() == 1 ? ports[0] : ports[at]});
    }
}

/// The key's text. A path is the secret's value too, so no message repeats it.
pem_source key_of(const option_reader& from, const std::string& key) {
    if (key.starts_with(pem_start)) {
        return {.text = key, .name = "the value of the secret"};
    }
    file_content content = read_file(key, max_key_bytes, file_kind::regular);
    if (!content.error.empty()) {
        from.refuse(
            "SSL KEY",
            "cannot read the file that the secret names: " + content.error,
            "The secret's value must be the key in PEM form or the path of its file."
        );
    }
    return {.text = std::move(content.text), .name = "the file that the secret names"};
}

void check_key(const option_reader& from, const postgres_connection& out) {
    if (out.tls_certificate.empty() != out.tls_key.empty()) {
        refuse_option(
            out.tls_key.empty() ? "SSL CERTIFICATE" : "SSL KEY",
            from.word("SSL CERTIFICATE") + " and " + from.word("SSL KEY") +
                " must be given together",
            from.word("SSL KEY") + " names a secret that holds the key or the path of its file."
        );
    }
    if (out.tls_certificate.empty()) {
        return;
    }
    const pem_source certificate = from.pem_file("SSL CERTIFICATE", out.tls_certificate);
    if (const auto problem = check_certificate(certificate)) {
        from.refuse("SSL CERTIFICATE", *problem, "The file must hold PEM certificates.");
    }
    if (const auto problem = check_key_pair(certificate, key_of(from, out.tls_key))) {
        from.refuse("SSL KEY", *problem, "Certificate and key must belong to each other.");
    }
}

void read_tls(const option_reader& from, postgres_connection& out) {
    out.tls = from.choice("SSL MODE", ssl_modes).value_or(out.tls);
    out.tls_ca = from.path("SSL CERTIFICATE AUTHORITY");
    out.tls_certificate = from.path("SSL CERTIFICATE");
    if (auto key = from.secret("SSL KEY")) {
        out.tls_key = key->starts_with(pem_start) ? std::move(*key) : from.resolve(*key);
    }
    out.negotiation = from.choice("SSL NEGOTIATION", ssl_negotiations).value_or(out.negotiation);
    if (out.negotiation == ssl_negotiation::direct &&
        (out.tls == ssl_mode::disable || out.tls == ssl_mode::allow || out.tls == ssl_mode::prefer
        )) {
        from.refuse(
            "SSL NEGOTIATION",
            "direct goes without a way back to plain text",
            "Set " + from.word("SSL MODE") + " to require, verify-ca or verify-full."
        );
    }
    out.binding = from.choice("CHANNEL BINDING", channel_bindings).value_or(out.binding);
    if (out.binding == channel_binding::require && out.tls == ssl_mode::disable) {
        from.refuse(
            "CHANNEL BINDING",
            "require needs TLS, and " + from.word("SSL MODE") + " is disable",
            "Set " + from.word("SSL MODE") + " to require, verify-ca or verify-full."
        );
    }
    if (out.tls == ssl_mode::disable) {
        return;  // so that one option switches TLS off while the files are not there
    }
    if (!out.tls_ca.empty()) {
        from.check_authority("SSL CERTIFICATE AUTHORITY", out.tls_ca);
    } else if (out.tls == ssl_mode::verify_ca || out.tls == ssl_mode::verify_full) {
        from.refuse(
            "SSL MODE",
            from.text("SSL MODE") + " needs " + from.word("SSL CERTIFICATE AUTHORITY"),
            "Set it to the path of the file with the authority's certificate."
        );
    }
    check_key(from, out);
}

/// `zero`: what 0 means.
std::optional<std::chrono::milliseconds> read_timeout(
    const option_reader& from, std::string_view option, const std::string& zero
) {
    if (!from.has(option)) {
        return std::nullopt;
    }
    const std::string text = from.text(option);
    const auto out = parse_duration(text);
    if (!out) {
        from.refuse_value(
            option,
            text,
            "Seconds, or a number with a unit, such as '5s' or '500ms'; units: " +
                std::string{duration_units} + ". At most 3650 days; 0 " + zero + "."
        );
    }
    return out;
}

class kind final : public connection_kind {
public:
    [[nodiscard]] connection_type type() const noexcept override {
        return connection_type::postgres;
    }

    [[nodiscard]] std::string_view label() const noexcept override { return "POSTGRES"; }

    [[nodiscard]] std::string_view type_name() const noexcept override { return "postgres"; }

    [[nodiscard]] std::span<const std::string_view> options() const noexcept override {
        return option_names;
    }

    [[nodiscard]] std::span<const option_description> descriptions() const noexcept override {
        return described_options;
    }

    [[nodiscard]] bool is_supported() const noexcept override { return true; }

    [[nodiscard]] planned_connection plan(
        const std::string& name, const option_map& options, const plan_context& context
    ) const override {
        const option_reader from{*this, options, context};
        postgres_connection planned;
        planned.name = name;
        read_addresses(from, planned);
        planned.database = from.text("DATABASE");
        planned.user = from.text("USER");
        planned.password = from.secret("PASSWORD");
        read_tls(from, planned);
        planned.target =
            from.choice("TARGET SESSION ATTRS", session_attributes).value_or(planned.target);
        planned.connect_timeout = read_timeout(from, "CONNECT TIMEOUT", "waits without end");
        planned.tcp_user_timeout = read_timeout(from, "TCP USER TIMEOUT", "leaves it to the system")
                                       .value_or(planned.tcp_user_timeout);
        planned.protocol =
            from.choice("MAX PROTOCOL VERSION", protocol_versions).value_or(planned.protocol);
        planned_connection out{
            .name = name, .type = type(), .options = options, .postgres = {}, .depends_on = {}};
        if (from.has("AWS PRIVATELINK")) {
            out.depends_on.push_back(
                from.connection("AWS PRIVATELINK", connection_type::aws_privatelink)
            );
        }
        out.postgres = std::make_shared<const postgres_connection>(std::move(planned));
        return out;
    }
};

}  // namespace

const connection_kind& postgres_kind() noexcept {
    static const kind only;
    return only;
}

}  // namespace signalbox::catalog
