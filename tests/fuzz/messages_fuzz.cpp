// libFuzzer target: every parser of wire/messages and wire/error_response, each of which must give
// back what it read when it is written again.
//
// Layout    first byte: which parser; the rest: the body
#include "tests/fuzz/choices.hpp"
#include "tests/support/exact_buffer.hpp"
#include "tests/support/frames.hpp"
#include "wire/error_response.hpp"
#include "wire/messages.hpp"

#include <string>
#include <vector>

namespace {

using namespace signalbox::wire;
using namespace signalbox::tests;

void same(const std::string& stream, std::string_view body) {
    const auto frames = split_frames(stream);
    require(frames.size() == 1 && frames[0].body == body);
}

void report(std::string_view body) {
    const auto read = parse_report(body);
    std::string again;
    write_edited_report(again, 'E', body, {});
    const auto frames = split_frames(again);
    require(frames.size() == 1);
    require(parse_report(frames[0].body).has_value());
    if (read) {
        require(frames[0].body == body);
        std::string edited;
        write_edited_report(
            edited,
            'N',
            body,
            {.severity = "WARNING", .from = "signalbox_1", .to = "s", .position = 3}
        );
        require(parse_report(split_frames(edited).at(0).body).has_value());
    }
}

void one(std::size_t which, std::string_view body) {
    std::string again;
    switch (which) {
        case 0:
            if (const auto text = parse_query(body)) {
                write_query(again, *text);
                same(again, body);
            }
            break;
        case 1:
            if (const auto p = parse_parse(body)) {
                write_parse(again, p->name, p->tail);
                same(again, body);
                require(p->tail.starts_with(p->text));
            }
            break;
        case 2:
            if (const auto names = parse_bind_names(body)) {
                require(names->bytes == names->portal.size() + names->statement.size() + 2);
                require(names->bytes <= body.size());
            }
            break;
        case 3:
            if (const auto target = parse_named_target(body)) {
                write_named_target(again, 'C', target->kind, target->name);
                same(again, body);
            }
            break;
        case 4:
            if (const auto portal = parse_execute_portal(body)) {
                require(portal->size() + 5 == body.size());
            }
            break;
        case 5:
            if (const auto password = parse_password(body)) {
                write_password(again, *password);
                same(again, body);
            }
            break;
        case 6:
            if (const auto first = parse_sasl_initial_response(body)) {
                require(first->data.size() <= body.size());
            }
            break;
        case 7:
            if (const auto status = parse_parameter_status(body)) {
                write_parameter_status(again, status->name, status->value);
                same(again, body);
            }
            break;
        case 8:
            if (const auto key = parse_backend_key_data(body)) {
                write_backend_key_data(again, *key);
                same(again, body);
            }
            break;
        case 9:
            if (const auto asked = parse_authentication(body)) {
                write_authentication(again, asked->kind, asked->data);
                same(again, body);
            }
            break;
        case 10:
            if (const auto status = parse_ready_for_query(body)) {
                write_ready_for_query(again, *status);
                same(again, body);
            }
            break;
        case 11:
            if (const auto tag = parse_command_complete(body)) {
                write_command_complete(again, *tag);
                same(again, body);
            }
            break;
        case 12: {
            std::vector<std::optional<std::string_view>> fields;
            if (parse_data_row(body, fields)) {
                {
                    message_writer m{again, 'D'};
                    m.u16(static_cast<std::uint16_t>(fields.size()));
                    for (const auto& field : fields) {
                        m.u32(field ? static_cast<std::uint32_t>(field->size()) : ~0U)
                            .bytes(field.value_or(""));
                    }
                }
                same(again, body);
            }
            break;
        }
        case 13:
            if (const auto heard = parse_notification(body)) {
                {
                    message_writer m{again, 'A'};
                    m.u32(heard->process_id).cstring(heard->channel).cstring(heard->payload);
                }
                same(again, body);
            }
            break;
        default:
            report(body);
            break;
    }
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
    choices input{{reinterpret_cast<const char*>(data), size}};
    const auto which = input.below(15);
    const exact_buffer body{input.remainder()};
    one(which, body);
    return 0;
}
