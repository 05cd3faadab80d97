// A text of several statements, some of them replaced: where an error of the server's belongs in
// what the client wrote. Positions are in characters from 1.
#include "proxy/relation_source.hpp"

#include <catch2/catch.hpp>

#include <random>

using namespace signalbox;
using namespace signalbox::proxy;
using rewrite::character_size;

namespace {

rewrite::rendered_statement rendered(std::string_view statement) {
    const auto found = rewrite::find_relations(statement, parser::backslashes::plain, {});
    REQUIRE(found.is_needed());
    REQUIRE_FALSE(found.refused);
    const std::vector rows(
        found.used.size(), std::make_shared<const std::string>(R"([{"id": "ä"}])")
    );
    return rewrite::render_with_literals(statement, found, rows);
}

std::size_t count(std::string_view text, character_size size) {
    std::size_t found = 0;
    for (const char c : text) {
        found +=
            size == character_size::one_byte || (static_cast<unsigned char>(c) & 0xc0U) != 0x80U;
    }
    return found;
}

/// The character position of the only `word` in `text`.
std::size_t place_of(std::string_view word, std::string_view text, character_size size) {
    const auto at = text.find(word);
    REQUIRE(at != std::string_view::npos);
    REQUIRE(text.find(word, at + 1) == std::string_view::npos);
    return count(text.substr(0, at), size) + 1;
}

}  // namespace

TEST_CASE("sent text: statements as they were", "[proxy][sent_text]") {
    sent_text sent{character_size::utf8};
    CHECK(sent.sql().empty());
    CHECK_FALSE(sent.is_changed());
    CHECK(sent.original_position(1) == 1);
    sent.add("SELECT 'ä';");
    sent.add(" SELECT nope");
    CHECK(sent.sql() == "SELECT 'ä'; SELECT nope");
    CHECK_FALSE(sent.is_changed());
    for (std::size_t position = 1; position < 30; ++position) {
        CHECK(sent.original_position(position) == position);
    }
}

TEST_CASE("sent text: an error before, in and behind what was replaced", "[proxy][sent_text]") {
    const auto size = GENERATE(character_size::utf8, character_size::one_byte);
    const std::string first = "SELECT 'ä', before;";
    const std::string second = " SELECT 'ö', inside FROM mz_catalog.mz_connections AS c, tail;";
    const std::string third = " SELECT '€', between;";
    const std::string fourth = "\nSELECT more FROM mz_internal.mz_connection_statuses, rest;";
    const std::string fifth = " SELECT behind";
    sent_text sent{size};
    sent.add(first);
    sent.add(second, rendered(second));
    sent.add(third);
    sent.add(fourth, rendered(fourth));
    sent.add(fifth);
    CHECK(sent.is_changed());

    const auto original = first + second + third + fourth + fifth;
    CHECK(sent.sql().size() > original.size());
    for (const auto* const word :
         {"before", "inside", " AS c", "tail", "between", "more", "rest", "behind"}) {
        CAPTURE(word);
        // The row sources that stand for the relations have words of their own.
        const auto position = place_of(word, sent.sql(), size);
        CHECK(sent.original_position(position) == place_of(word, original, size));
    }
    // Inside a row source: the name of the relation that it stands for.
    const auto source = sent.sql().find("string_to_array(t,");
    REQUIRE(source != std::string::npos);
    CHECK(
        sent.original_position(count(sent.sql().substr(0, source), size) + 1) ==
        place_of("mz_catalog.mz_connections", original, size)
    );
    // Just behind the end, where an error at the end of the input is.
    CHECK(sent.original_position(count(sent.sql(), size) + 1) == count(original, size) + 1);
}

TEST_CASE("sent text: random texts lose no position", "[proxy][sent_text]") {
    std::mt19937 random{20240229};
    const std::vector<std::string> plain = {";", " SELECT 'ä';", " SELECT 1, '€';", "\n;", ""};
    for (int turn = 0; turn < 500; ++turn) {
        sent_text sent{character_size::utf8};
        std::string original;
        for (char mark = '0'; mark <= '9'; ++mark) {
            const bool is_replaced = std::uniform_int_distribution<>{0, 2}(random) == 0;
            const auto which =
                std::uniform_int_distribution<std::size_t>{0, plain.size() - 1}(random);
            // Its mark is a word that nothing else has.
            const std::string word = std::string{"mark_"} + mark;
            const std::string statement =
                is_replaced ? " SELECT 'ü', " + word + " FROM mz_catalog.mz_connections;"
                            : plain[which] + " SELECT " + word + ";";
            if (is_replaced) {
                sent.add(statement, rendered(statement));
            } else {
                sent.add(statement);
            }
            original += statement;
        }
        CAPTURE(original);
        for (char mark = '0'; mark <= '9'; ++mark) {
            const std::string word = std::string{"mark_"} + mark;
            CHECK(
                sent.original_position(place_of(word, sent.sql(), character_size::utf8)) ==
                place_of(word, original, character_size::utf8)
            );
        }
    }
}
