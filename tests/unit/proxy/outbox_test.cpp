// The outbox: bytes that lie together are not copied; everything keeps its order.
#include "proxy/outbox.hpp"

#include <catch2/catch.hpp>

#include <string>

using signalbox::proxy::outbox;

TEST_CASE("stretches that touch are one, and are not copied", "[proxy][outbox]") {
    const std::string input = "abcdef";
    const std::string_view view{input};
    outbox out;
    CHECK(out.empty());
    out.pass(view.substr(0, 2));
    out.pass(view.substr(2, 3));
    CHECK(out.data() == "abcde");
    CHECK(out.data().data() == input.data());
    out.clear();
    CHECK(out.empty());
    CHECK(out.data().empty());
}

TEST_CASE("what is left out or put between keeps its place", "[proxy][outbox]") {
    const std::string input = "abcdef";
    const std::string_view view{input};
    outbox out;
    SECTION("left out") {
        out.pass(view.substr(0, 2));
        out.pass(view.substr(4, 2));
        CHECK(out.data() == "abef");
    }
    SECTION("put between") {
        out.pass(view.substr(0, 2));
        out.copied() += "-";
        out.pass(view.substr(2, 4));
        CHECK(out.data() == "ab-cdef");
    }
    SECTION("put in front") {
        out.copied() += "-";
        out.pass(view);
        out.copied() += "+";
        CHECK(out.data() == "-abcdef+");
    }
    SECTION("backwards") {
        out.pass(view.substr(3));
        out.pass(view.substr(0, 3));
        CHECK(out.data() == "defabc");
    }
    CHECK_FALSE(out.empty());
    out.clear();
    CHECK(out.empty());
}

TEST_CASE("a buffer that was asked for and not used is empty", "[proxy][outbox]") {
    outbox out;
    out.copied();
    CHECK(out.empty());
    out.pass("x");
    CHECK(out.data() == "x");
}

TEST_CASE("a buffer that has grown large is given back", "[proxy][outbox]") {
    outbox out;
    out.copied().assign(std::size_t{4} << 20U, 'x');
    out.clear();
    CHECK(out.copied().capacity() <= (std::size_t{1} << 20U));
}
