// The catalog at work, without servers: what was met at a connection's target counts while the
// connection leads there.
#include "proxy/connection_service.hpp"

#include "tests/support/temporary_folder.hpp"

#include <catch2/catch.hpp>

#include <future>
#include <memory>
#include <string>
#include <string_view>
#include <utility>

using namespace signalbox::proxy;
using signalbox::backend::connect_failure;
using signalbox::tests::temporary_folder;

namespace {

constexpr std::string_view file =
    "[tls]\n"
    "mode = 'off'\n"
    "[connections.main]\n"
    "host = '127.0.0.1'\n"
    "port = 1\n"
    "[[routes]]\n"
    "database = 'app'\n"
    "connection = 'main'\n"
    "[catalog]\n"
    "notices = false\n"
    "[availability]\n"
    "interval = '0'\n";

class world {
public:
    world() {
        service_.start([](const runtime_ptr&) {});
    }

    /// The command's tag; what was posted before has been done then.
    std::string run(const std::string& sql) {
        // Shared: the thread that sets it may still be at it when the one that waits has got it.
        const auto told = std::make_shared<std::promise<command_reply>>();
        auto reply = told->get_future();
        service_.carry_out(
            {.sql = sql, .who = {.user = "boss", .is_superuser = true}},
            [told](command_reply each) { told->set_value(std::move(each)); }
        );
        const auto found = reply.get();
        return found.error ? found.error->message : found.tag;
    }

    [[nodiscard]] auto main_connection() const {
        return service_.current()->config().connections.at("main");
    }

    [[nodiscard]] std::string status() const { return service_.snapshot()->find("main")->status; }

    connection_service& service() { return service_; }

private:
    temporary_folder folder_;
    connection_service service_{load_configuration(folder_.write("signalbox.toml", file))};
};

const connect_failure refused{
    .unreachable = true,
    .sqlstate = {},
    .message = "Connection refused",
    .detail = {},
    .at = {.host = "127.0.0.1", .port = 1}};

}  // namespace

TEST_CASE("what traffic meets counts while the connection leads there", "[catalog][status]") {
    world w;
    const auto lead_to = [&w](int port) {
        const auto sql = "ALTER CONNECTION main SET (PORT = " + std::to_string(port) + ")";
        REQUIRE(w.run(sql + " WITH (VALIDATE = false)") == "ALTER CONNECTION");
    };
    const auto old = w.main_connection();
    lead_to(2);
    const auto now = w.main_connection();
    REQUIRE(now->hosts.at(0).port == 2);

    w.service().on_outcome(old, &refused);
    w.service().on_outcome(old, nullptr);
    lead_to(2);
    CHECK(w.status() == "unknown");

    // Planned anew, it is the same connection.
    w.service().on_outcome(now, &refused);
    lead_to(2);
    CHECK(w.status() == "failed");

    w.service().on_outcome(now, nullptr);
    lead_to(3);
    CHECK(w.status() == "available");
}

TEST_CASE("an option that there is not gets a hint", "[catalog][commands]") {
    world w;
    const auto hint = [&w](std::string_view sql) {
        const auto shape = w.service().describe(sql, signalbox::parser::backslashes::plain);
        REQUIRE(shape.error);
        CHECK(shape.error->sqlstate == "42601");
        return shape.error->hint;
    };
    CHECK(hint("ALTER CONNECTION main SET (PROT = 1)") == "Did you mean \"PORT\"?");
    CHECK(hint("ALTER CONNECTION main SET (SSL_MOD = 'x')") == "Did you mean \"SSL MODE\"?");
    const auto all = hint("ALTER CONNECTION main SET (FORTNIGHTS = 1)");
    CHECK(all.starts_with("Options of POSTGRES connections: HOST, PORT, "));
    CHECK(all.ends_with("."));
    CHECK(hint("SHOW CONNECTION STATUS main") == "Write SHOW CONNECTION STATUS FOR main.");
    CHECK(hint("ALTER CONNECTION main SET ()").empty());
}
