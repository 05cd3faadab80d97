// SASLprep: the examples of RFC 4013, and what stays as it is.
#include "wire/saslprep.hpp"

#include "tests/support/exact_buffer.hpp"

#include <catch2/catch.hpp>

#include <string>
#include <string_view>

using namespace signalbox::wire;
using namespace std::string_view_literals;
using signalbox::tests::exact_buffer;

TEST_CASE("saslprep", "[wire][saslprep]") {
    const auto [password, prepared] = GENERATE(table<std::string_view, std::string_view>({
        // RFC 4013 section 3
        {"I\xc2\xadX", "IX"},
        {"user", "user"},
        {"USER", "USER"},
        {"\xc2\xaa", "a"},
        {"\xe2\x85\xa8", "IX"},
        // mapped: other spaces, code points mapped to nothing; composed
        {"a\xc2\xa0\xe3\x80\x80z", "a  z"},
        {"a\xe2\x80\x8b\xef\xbb\xbfz", "a z"},
        {"A\xcc\x8a", "\xc3\x85"},
        {"\xef\xb7\xba",
         "\xd8\xb5\xd9\x84\xd9\x89 \xd8\xa7\xd9\x84\xd9\x84\xd9\x87 "
         "\xd8\xb9\xd9\x84\xd9\x8a\xd9\x87 "
         "\xd9\x88\xd8\xb3\xd9\x84\xd9\x85"},  // U+FDFA, the longest decomposition
        // as they are: ASCII of every kind, what is prohibited, unassigned, of mixed direction, not
        // UTF-8, or empty
        {"", ""},
        {"a\x01\x7f z", "a\x01\x7f z"},
        {"\xc2\xaa\x07", "\xc2\xaa\x07"},
        {"\xc2\xaa\0"sv, "\xc2\xaa\0"sv},
        {"\xc2\xaa\xee\x80\x80", "\xc2\xaa\xee\x80\x80"},
        {"\xc2\xaa\xc8\xa1", "\xc2\xaa\xc8\xa1"},
        {"\xd8\xa7\x31", "\xd8\xa7\x31"},
        {"\xd8\xa7\xc2\xaa\xd8\xa7", "\xd8\xa7\xc2\xaa\xd8\xa7"},
        {"\xc2", "\xc2"},
        {"\xc0\xaf", "\xc0\xaf"},
        {"\xed\xa0\x80", "\xed\xa0\x80"},
        {"\xf4\x90\x80\x80", "\xf4\x90\x80\x80"},
        {"\xe4", "\xe4"},
        {"\xc2\xad", "\xc2\xad"},
    }));
    CAPTURE(password);
    CHECK(saslprep(exact_buffer{password}) == prepared);
}

TEST_CASE("saslprep leaves long passwords alone", "[wire][saslprep]") {
    std::string longest;
    while (longest.size() + 2 <= max_saslprep_bytes) {
        longest += "\xc2\xaa";
    }
    CHECK(saslprep(longest) == std::string(longest.size() / 2, 'a'));
    longest += "\xc2\xaa";
    CHECK(saslprep(longest) == longest);
}
