// Maps of names: what pg_ident.conf says, line by line.
#include "proxy/name_map.hpp"

#include <catch2/catch.hpp>

#include <string_view>

using namespace signalbox::proxy;

namespace {

name_map one(const char* system_username, const char* database_username) {
    name_map made;
    made.add(
        {.name = "m", .system_username = system_username, .database_username = database_username}
    );
    return made;
}

}  // namespace

TEST_CASE("a map without entries allows nobody", "[proxy][name_map]") {
    CHECK_FALSE(name_map{}.allows("joe", "joe"));
}

TEST_CASE("an entry of a map", "[proxy][name_map]") {
    struct row {
        const char* system_username;
        const char* database_username;
        std::string_view certificate;
        std::string_view user;
        bool allowed;
    };

    const auto [system_username, database_username, certificate, user, allowed] = GENERATE(
        // names
        row{"Jane Doe", "jane", "Jane Doe", "jane", true},
        row{"Jane Doe", "jane", "jane doe", "jane", false},
        row{"Jane Doe", "jane", "Jane Doe", "Jane", false},
        row{"Jane Doe", "jane", "Jane Doe", "Jane Doe", false},
        row{"Jane Doe", "jane", "Jane Doe 2", "jane", false},
        row{"Jane.Doe", "jane", "Jane Doe", "jane", false},
        row{"all", "jane", "Jane Doe", "jane", false},  // no keyword on this side
        // any user
        row{"ops", "all", "ops", "jane", true},
        row{"ops", "all", "other", "jane", false},
        // patterns match anywhere, but for anchors
        row{"/doe", "jane", "jane doe 2", "jane", true},
        row{"/^doe", "jane", "jane doe", "jane", false},
        row{"/^doe$", "jane", "doe\nx", "jane", false},
        row{"/", "jane", "anybody", "jane", true},
        row{"/^ops", "all", "ops-7", "jane", true},
        // a group
        row{R"(/^(.*)@example\.com$)", R"(\1)", "jane@example.com", "jane", true},
        row{R"(/^(.*)@example\.com$)", R"(\1)", "jane@example.com", "joe", false},
        row{R"(/^(.*)@example\.com$)", R"(\1)", "jane@example.org", "jane", false},
        row{R"(/^(.*)@example\.com$)", R"(\1)", "jane@example_com", "jane", false},
        row{R"(/^(.*)@(.*)$)", R"(u_\1_x)", "jane@a", "u_jane_x", true},
        row{R"(/^(.*)@(.*)$)", R"(u_\1_x)", "jane@a", "u_a_x", false},
        row{R"(/^(.*)$)", R"(\1\1)", "a", R"(a\1)", true},  // the first only, as PostgreSQL
        // what a group has caught is a name and nothing else
        row{R"(/^(.*)@a$)", R"(\1)", "all@a", "jane", false},
        row{R"(/^(.*)@a$)", R"(\1)", "all@a", "all", true},
        row{R"(/^(.*)@a$)", R"(\1)", "/.@a", "jane", false},
        row{R"(/^(.*)@a$)", R"(\1)", R"(\1@a)", R"(\1)", true},
        row{R"(/^(.*)@a$)", R"(\1)", "@a", "", true},
        // a group that has caught nothing
        row{R"(/^x|(y)$)", R"(\1)", "x", "", false},
        row{R"(/^x|(y)$)", R"(\1)", "y", "y", true},
        // patterns of users
        row{"ops", "/^app_", "ops", "app_1", true},
        row{"ops", "/^app_", "ops", "my_app_1", false},
        row{"/^ops", "/^app_", "ops-1", "app_1", true},
        row{"/^ops", "/^app_", "dev-1", "app_1", false}
    );
    CAPTURE(system_username, database_username, certificate, user);
    CHECK(one(system_username, database_username).allows(certificate, user) == allowed);
}

TEST_CASE("one entry that fits is enough", "[proxy][name_map]") {
    auto map = one("jane", "reader");
    map.add({.name = "m", .system_username = "jane", .database_username = "writer"});
    map.add({.name = "m", .system_username = "joe", .database_username = "reader"});
    CHECK(map.allows("jane", "reader"));
    CHECK(map.allows("jane", "writer"));
    CHECK(map.allows("joe", "reader"));
    CHECK_FALSE(map.allows("joe", "writer"));
    CHECK_FALSE(map.allows("jane", "jane"));  // the user's own name has no place of its own
}
