// Prepared statements on shared server connections: identity, names of a client, slots of a server
// connection.
#include "rewrite/statements.hpp"

#include <catch2/catch.hpp>

#include <string>
#include <thread>
#include <vector>

using namespace signalbox::rewrite;
using namespace std::string_literals;

namespace {

std::string tail(const std::string& text, const std::string& types = "\0\0"s) {
    return text + '\0' + types;
}

}  // namespace

TEST_CASE("equal statements are one, in one worker and across workers", "[rewrite][statements]") {
    statement_registry registry;
    statement_cache one{registry};
    statement_cache two{registry};
    const auto a = one.intern(tail("select 1"), 0);
    CHECK(one.intern(tail("select 1"), 0) == a);
    CHECK(two.intern(tail("select 1"), 0) == a);
    CHECK(a->tail == tail("select 1"));
    CHECK(one.intern(tail("select 2"), 0)->id != a->id);
}

TEST_CASE("other types or other parameters make another statement", "[rewrite][statements]") {
    statement_registry registry;
    statement_cache cache{registry};
    const auto plain = cache.intern(tail("select $1"), 0);
    const auto typed = cache.intern(tail("select $1", "\0\1\0\0\0\x17"s), 0);
    const auto elsewhere = cache.intern(tail("select $1"), 1);
    CHECK(plain->id != typed->id);
    CHECK(plain->id != elsewhere->id);
    CHECK(typed->id != elsewhere->id);
}

TEST_CASE("a statement knows its traits", "[rewrite][statements]") {
    statement_registry registry;
    statement_cache cache{registry};
    CHECK(cache.intern(tail("select pg_advisory_lock(1)"), 0)->traits.needs_inspection);
    CHECK_FALSE(cache.intern(tail("select 1"), 0)->traits.needs_inspection);
    // Not of the types behind the text.
    CHECK_FALSE(cache.intern(tail("select 2", "\0\1temp"s), 0)->traits.needs_inspection);
}

TEST_CASE(
    "identity outlives the cache while somebody holds the statement", "[rewrite][statements]"
) {
    statement_registry registry;
    statement_cache cache{registry};
    const auto held = cache.intern(tail("held"), 0);
    for (int i = 0; i < 10'000; ++i) {
        cache.intern(tail("select " + std::to_string(i)), 0);
    }
    CHECK(cache.intern(tail("held"), 0) == held);
    statement_cache other{registry};
    CHECK(other.intern(tail("held"), 0) == held);
}

TEST_CASE("an identity is never given twice", "[rewrite][statements]") {
    statement_registry registry;
    std::uint64_t last = 0;
    for (int i = 0; i < 3'000; ++i) {
        const auto made = registry.intern("k" + std::to_string(i % 10), tail("x"));
        CHECK(made->id > last);  // nobody holds it: each is made anew
        last = made->id;
    }
}

TEST_CASE("workers intern at the same time", "[rewrite][statements]") {
    statement_registry registry;
    std::vector<std::vector<statement_ptr>> seen(4);
    std::vector<std::thread> workers;
    for (auto& mine : seen) {
        workers.emplace_back([&registry, &mine] {
            statement_cache cache{registry};
            for (int i = 0; i < 500; ++i) {
                mine.push_back(cache.intern(tail("select " + std::to_string(i)), 0));
            }
        });
    }
    for (auto& worker : workers) {
        worker.join();
    }
    for (const auto& mine : seen) {
        CHECK(mine == seen.front());
    }
}

TEST_CASE("a client's name is visible at once and confirmed later", "[rewrite][statements]") {
    statement_registry registry;
    const auto a = registry.intern("a", tail("a"));
    client_statements names;
    CHECK(names.find("s") == nullptr);
    CHECK(names.ddl_at_parse("s") == 0);
    names.prepare("s", a, 1, 7);
    CHECK(names.find("s") == a);
    CHECK(names.ddl_at_parse("s") == 7);
    SECTION("rolled back, it is gone") {
        names.roll_back("s");
        CHECK(names.find("s") == nullptr);
        CHECK(names.empty());
    }
    SECTION("confirmed, a roll back does nothing") {
        names.confirm_prepare("s", a);
        names.roll_back("s");
        CHECK(names.find("s") == a);
    }
}

TEST_CASE("a name that is closed comes back when the Close was not done", "[rewrite][statements]") {
    statement_registry registry;
    const auto a = registry.intern("a", tail("a"));
    const auto b = registry.intern("b", tail("b"));
    client_statements names;
    names.prepare("s", a, 1, 0);
    names.confirm_prepare("s", a);
    names.close("s", 1);
    CHECK(names.find("s") == nullptr);
    SECTION("rolled back") {
        names.roll_back("s");
        CHECK(names.find("s") == a);
    }
    SECTION("confirmed") {
        names.confirm_close("s");
        CHECK(names.find("s") == nullptr);
        CHECK(names.empty());
    }
    SECTION("prepared anew before the answer, and all of it rolled back") {
        names.prepare("s", b, 1, 0);
        CHECK(names.find("s") == b);
        names.roll_back("s");
        CHECK(names.find("s") == a);
    }
    SECTION("prepared anew: the Close is confirmed, the Parse fails") {
        names.prepare("s", b, 1, 0);
        names.confirm_close("s");
        CHECK(names.find("s") == b);
        names.roll_back("s");
        CHECK(names.find("s") == nullptr);
        CHECK(names.empty());
    }
}

TEST_CASE("a name is settled once the server has answered", "[rewrite][statements]") {
    statement_registry registry;
    const auto a = registry.intern("a", tail("a"));
    client_statements names;
    CHECK_FALSE(names.is_unsettled("s", 1));
    names.prepare("s", a, 1, 0);
    CHECK_FALSE(names.is_unsettled("s", 1));  // the same batch: it fails as a whole
    CHECK(names.is_unsettled("s", 2));
    CHECK_FALSE(names.is_unsettled("t", 2));
    names.confirm_prepare("s", a);
    CHECK_FALSE(names.is_unsettled("s", 2));
    names.close("s", 2);
    CHECK_FALSE(names.is_unsettled("s", 2));
    CHECK(names.is_unsettled("s", 3));
    SECTION("closed") {
        names.confirm_close("s");
        CHECK_FALSE(names.is_unsettled("s", 3));
    }
    SECTION("rolled back") {
        names.roll_back("s");
        CHECK_FALSE(names.is_unsettled("s", 3));
    }
}

TEST_CASE("a statement is found by its number and by its names", "[rewrite][statements]") {
    statement_registry registry;
    const auto a = registry.intern("a", tail("a"));
    client_statements names;
    names.prepare("s", a, 1, 0);
    CHECK(names.name_of(a->id) == "s");
    CHECK(names.name_of(a->id + 1).empty());
    names.close("s", 1);
    CHECK(names.name_of(a->id).empty());
    server_statements slots;
    const auto number = slots.add(a->id, 1).number;
    CHECK(slots.id_of(number) == a->id);
    CHECK(slots.id_of(number + 1) == 0);
}

TEST_CASE("names that nobody has prepared may be closed and rolled back", "[rewrite][statements]") {
    client_statements names;
    names.close("x", 1);
    names.confirm_close("x");
    names.roll_back("x");
    names.confirm_prepare("x", nullptr);
    CHECK(names.empty());
}

TEST_CASE("a slot is speculative until it is confirmed", "[rewrite][statements]") {
    server_statements slots;
    const auto first = slots.add(7, 1).number;
    REQUIRE(slots.find(7) != nullptr);
    CHECK_FALSE(slots.find(7)->confirmed);
    SECTION("confirmed") {
        slots.confirm(7, first);
        CHECK(slots.find(7)->confirmed);
    }
    SECTION("forgotten") {
        slots.forget(7, first);
        CHECK(slots.find(7) == nullptr);
    }
    SECTION("made anew: what is said about the old number means nothing") {
        const auto second = slots.add(7, 2).number;
        CHECK(second != first);
        slots.confirm(7, first);
        CHECK_FALSE(slots.find(7)->confirmed);
        slots.forget(7, first);
        CHECK(slots.find(7) != nullptr);
        slots.confirm(7, second);
        CHECK(slots.find(7)->confirmed);
        CHECK(slots.size() == 1);
    }
}

TEST_CASE(
    "a number is never used twice, not even after everything is gone", "[rewrite][statements]"
) {
    server_statements slots;
    const auto first = slots.add(1, 1).number;
    slots.clear();
    CHECK(slots.size() == 0);
    CHECK(slots.add(1, 1).number > first);
}

TEST_CASE(
    "the least recently used is evicted, and never one of the current batch",
    "[rewrite][statements]"
) {
    server_statements slots;
    const auto a = slots.add(1, 10).number;
    const auto b = slots.add(2, 11).number;
    slots.add(3, 12);
    slots.find(1)->used = 12;  // named again by the current batch
    CHECK(slots.evict(12) == b);
    CHECK_FALSE(slots.evict(12).has_value());
    CHECK(slots.size() == 2);
    CHECK(slots.find(1)->number == a);
    slots.find(3)->used = 13;
    CHECK(slots.evict(14) == a);
    CHECK(slots.evict(14).has_value());
    CHECK_FALSE(slots.evict(14).has_value());
}

TEST_CASE("server names have their prefix", "[rewrite][statements]") {
    CHECK(server_statement_name(17) == "signalbox_17");
    CHECK(unknown_statement_name.starts_with(server_statement_prefix));
}
