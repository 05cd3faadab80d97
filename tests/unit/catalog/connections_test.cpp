// The catalog of connections on a store that can be read and does not take what it is given.
#include "catalog/connections.hpp"

#include "catalog/sqlite_store.hpp"
#include "tests/support/temporary_folder.hpp"

#include <catch2/catch.hpp>

#include <chrono>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

using namespace signalbox::catalog;
using signalbox::tests::temporary_folder;

namespace {

/// Refuses changes of connections while `refusal` says why.
class refusing_store final : public store {
public:
    explicit refusing_store(const std::string& file) : kept_(file) {}

    std::string refusal;
    int attempts = 0;

    stored_catalog load() override { return kept_.load(); }

    std::vector<stored_connection> commit(
        const std::vector<connection_change>& changes, const std::vector<status_event>& events
    ) override {
        ++attempts;
        if (!refusal.empty()) {
            throw store_error{refusal};
        }
        return kept_.commit(changes, events);
    }

    void append(const std::vector<status_event>& events) override { kept_.append(events); }

    void truncate_history(std::size_t per_connection) override {
        kept_.truncate_history(per_connection);
    }

    stored_notices load_notices(std::optional<std::uint64_t> since) override {
        return kept_.load_notices(since);
    }

    std::uint64_t commit_notices(const notice_changes& changes, std::uint64_t seen) override {
        return kept_.commit_notices(changes, seen);
    }

    bool is_leader() override { return true; }

    bool wait_for_change(std::chrono::milliseconds timeout) override {
        return kept_.wait_for_change(timeout);
    }

    [[nodiscard]] store_news news() const noexcept override { return kept_.news(); }

    void interrupt() noexcept override { kept_.interrupt(); }

private:
    sqlite_store kept_;
};

class listening_user final : public connection_user {
public:
    std::vector<std::string> warnings;

    check validate(const planned_connection& /*connection*/) override {
        return {.is_available = true, .error = {}, .host = {}, .port = 0};
    }

    [[nodiscard]] std::optional<std::string> find_route_to(std::string_view /*name*/
    ) const override {
        return std::nullopt;
    }

    std::function<void()> prepare(const postgres_connections& /*connections*/) override {
        return [] {};
    }

    [[nodiscard]] std::optional<std::string> find_secret(std::string_view /*name*/) const override {
        return std::nullopt;
    }

    [[nodiscard]] std::filesystem::path resolve_path(const std::string& path) const override {
        return path;
    }

    void warn(const std::string& what, const std::string& cause) override {
        warnings.push_back(what + ": " + cause);
    }
};

struct world {
    temporary_folder folder;
    refusing_store kept{folder.file()};
    listening_user user;
    connection_catalog known{kept, user, {}, 5};

    void set_file() {
        known.set_file(
            {{"main", {.type = connection_type::postgres, .options = {{"HOST", std::string{"a"}}}}}}
        );
    }

    /// Also asks the store at once. The error's words, if any.
    std::string change_owner() {
        try {
            known.execute(
                signalbox::parser::change_connection_owner{.name = "main", .role = "me"},
                {.user = "boss", .is_superuser = true}
            );
        } catch (const rejection& why) {
            return why.what();
        }
        return {};
    }

    [[nodiscard]] std::string id() const { return known.snapshot()->find("main")->stored.id; }
};

std::string warning(const std::string& cause) {
    return "the file's connections cannot be stored, it is tried again: " + cause;
}

}  // namespace

TEST_CASE("a store that takes nothing is not asked all the time", "[catalog][connections]") {
    world w;
    w.kept.refusal = "the disk is full";
    w.set_file();
    REQUIRE(w.kept.attempts == 1);
    for (int i = 0; i < 1000; ++i) {
        w.known.maintain();
    }
    CHECK(w.kept.attempts < 5);  // one a second at most
    CHECK(w.user.warnings == std::vector{warning("the disk is full")});
    CHECK(w.id().empty());

    SECTION("but whenever somebody changes something") {
        w.kept.refusal = "somebody holds it";
        const int before = w.kept.attempts;
        CHECK_FALSE(w.change_owner().empty());
        CHECK(w.kept.attempts > before);
        // Another cause is told, once more.
        CHECK(
            w.user.warnings ==
            std::vector{warning("the disk is full"), warning("somebody holds it")}
        );
        w.kept.refusal.clear();
        CHECK(w.change_owner().empty());
        CHECK(w.id() == "u1");
    }

    SECTION("once it is well, the next refusal is told again") {
        w.kept.refusal.clear();
        w.set_file();  // a reload of the file
        CHECK(w.change_owner().empty());
        CHECK(w.id() == "u1");
        w.kept.refusal = "the disk is full";
        w.known.set_file(
            {{"other",
              {.type = connection_type::postgres, .options = {{"HOST", std::string{"a"}}}}}}
        );
        CHECK(w.user.warnings == std::vector(2, warning("the disk is full")));
    }
}
