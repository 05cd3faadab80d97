// KAFKA: a cluster, reached through its brokers. The words are librdkafka's.
#include "catalog/kinds.hpp"
#include "catalog/option_reader.hpp"

#include <charconv>

namespace signalbox::catalog {
namespace {

constexpr auto described_options = std::to_array<option_description>(
    {{"BROKER", option_form::text, true},
     {"BROKERS", option_form::text, true},
     {"SECURITY PROTOCOL", option_form::choice},
     {"SASL MECHANISMS", option_form::choice},
     {"SASL USERNAME", option_form::text},
     {"SASL PASSWORD", option_form::secret},
     {"SSL CERTIFICATE AUTHORITY", option_form::text},
     {"AWS PRIVATELINK", option_form::connection}}
);

constexpr auto option_names = names_of(described_options);

enum class security_protocol { plaintext, ssl, sasl_plaintext, sasl_ssl };
enum class sasl_mechanism { plain, scram_sha_256, scram_sha_512 };

// As Kafka writes them. PostgreSQL folds a word without quotes to lower case, so the case is
// ignored.
constexpr auto protocols = std::to_array<named_choice<security_protocol>>(
    {{"PLAINTEXT", security_protocol::plaintext},
     {"SSL", security_protocol::ssl},
     {"SASL_PLAINTEXT", security_protocol::sasl_plaintext},
     {"SASL_SSL", security_protocol::sasl_ssl}}
);

constexpr auto mechanisms = std::to_array<named_choice<sasl_mechanism>>(
    {{"PLAIN", sasl_mechanism::plain},
     {"SCRAM-SHA-256", sasl_mechanism::scram_sha_256},
     {"SCRAM-SHA-512", sasl_mechanism::scram_sha_512}}
);

/// HOST, HOST:PORT or [ADDRESS]:PORT.
bool is_broker(std::string_view text) {
    if (text.empty() || text.find_first_of(" \t/@") != std::string_view::npos) {
        return false;
    }
    std::size_t host_end = text.find(':');
    if (text.front() == '[') {
        host_end = text.find(']');
        if (host_end == std::string_view::npos || host_end == 1) {
            return false;
        }
        ++host_end;
    }
    if (host_end == 0) {
        return false;
    }
    if (host_end >= text.size()) {
        return true;
    }
    const std::string_view port_text = text.substr(host_end + 1);
    std::uint16_t port = 0;
    const char* const end = port_text.data() + port_text.size();
    const auto [stop, ec] = std::from_chars(port_text.data(), end, port);
    return text[host_end] == ':' && ec == std::errc{} && stop == end && port != 0;
}

void check_brokers(const option_reader& from) {
    if (from.has("BROKER") && from.has("BROKERS")) {
        refuse_option(
            "BROKERS",
            from.word("BROKER") + " and " + from.word("BROKERS") + " cannot be given together",
            from.word("BROKERS") + " takes several."
        );
    }
    const std::string_view option = from.has("BROKERS") ? "BROKERS" : "BROKER";
    if (!from.has(option)) {
        from.refuse_missing(
            "BROKER", "Write " + from.word("BROKER") + " = 'kafka.example.com:9092'."
        );
    }
    for (const std::string& broker : from.list(option)) {
        if (!is_broker(broker)) {
            // A URI may hold a password, so it is not repeated.
            from.refuse(
                option,
                "it is not a host with a port",
                "For example 'kafka.example.com:9092'; several as 'a:9092,b:9092'."
            );
        }
    }
}

void check_security(const option_reader& from) {
    const auto mechanism = from.choice("SASL MECHANISMS", mechanisms, letter_case::ignored);
    const auto protocol =
        from.choice("SECURITY PROTOCOL", protocols, letter_case::ignored)
            .value_or(mechanism ? security_protocol::sasl_ssl : security_protocol::plaintext);
    const bool is_sasl =
        protocol == security_protocol::sasl_ssl || protocol == security_protocol::sasl_plaintext;
    if (is_sasl && !mechanism) {
        from.refuse_missing("SASL MECHANISMS", "One of PLAIN, SCRAM-SHA-256, SCRAM-SHA-512.");
    }
    const std::string user = from.text("SASL USERNAME");
    const bool has_password = from.secret("SASL PASSWORD").has_value();
    if (is_sasl && user.empty()) {
        from.refuse_missing("SASL USERNAME", "SASL asks for a user and a password.");
    }
    if (is_sasl && !has_password) {
        from.refuse_missing("SASL PASSWORD", "SASL asks for a user and a password.");
    }
    const std::string authority = from.path("SSL CERTIFICATE AUTHORITY");
    if (!authority.empty()) {
        from.check_authority("SSL CERTIFICATE AUTHORITY", authority);
    }
}

class kind final : public connection_kind {
public:
    [[nodiscard]] connection_type type() const noexcept override { return connection_type::kafka; }

    [[nodiscard]] std::string_view label() const noexcept override { return "KAFKA"; }

    [[nodiscard]] std::string_view type_name() const noexcept override { return "kafka"; }

    [[nodiscard]] std::span<const std::string_view> options() const noexcept override {
        return option_names;
    }

    [[nodiscard]] std::span<const option_description> descriptions() const noexcept override {
        return described_options;
    }

    [[nodiscard]] bool is_supported() const noexcept override { return false; }

    [[nodiscard]] planned_connection plan(
        const std::string& name, const option_map& options, const plan_context& context
    ) const override {
        const option_reader from{*this, options, context};
        check_brokers(from);
        check_security(from);
        planned_connection out{
            .name = name, .type = type(), .options = options, .postgres = {}, .depends_on = {}};
        if (from.has("AWS PRIVATELINK")) {
            out.depends_on.push_back(
                from.connection("AWS PRIVATELINK", connection_type::aws_privatelink)
            );
        }
        return out;
    }
};

}  // namespace

const connection_kind& kafka_kind() noexcept {
    static const kind only;
    return only;
}

}  // namespace signalbox::catalog
