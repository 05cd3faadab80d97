// The plan of a batch: what is one unit, what is not.
#include "rewrite/units.hpp"

#include <catch2/catch.hpp>

using namespace signalbox;
using rewrite::multi_statement_policy;

namespace {

/// A letter a statement: b BEGIN, e COMMIT, s one of ours, r an RPC call, anything else a plain
/// one. Each is ten bytes long.
parser::verdict batch(std::string_view letters) {
    parser::verdict made;
    for (const char c : letters) {
        parser::statement_piece piece{.offset = made.statements.size() * 10, .size = 10};
        switch (c) {
            case 'b':
                piece.kind = parser::statement_kind::begin;
                break;
            case 'e':
                piece.kind = parser::statement_kind::end_block;
                break;
            case 's':
                piece.kind = parser::statement_kind::signalbox;
                made.is_ours = true;
                break;
            case 'r':
                piece.calls_rpc = true;
                made.calls_rpc = true;
                break;
            default:
                break;
        }
        made.statements.push_back(piece);
    }
    return made;
}

/// The units' letters, ours in capitals.
std::string shape(std::string_view letters, multi_statement_policy policy, bool in_block = false) {
    std::string out;
    std::size_t end = 0;
    for (const auto& unit : plan_units(batch(letters), policy, in_block).units) {
        CHECK(unit.offset == end);
        end = unit.offset + unit.size;
        auto part = std::string{letters.substr(unit.offset / 10, unit.size / 10)};
        CHECK(part.size() == unit.statements);
        CHECK(unit.first == unit.offset / 10);
        if (unit.for_signalbox) {
            CHECK(part == "s");
            part = "S";
        }
        out += (out.empty() ? "" : " ") + part;
    }
    if (!out.empty()) {
        CHECK(end == letters.size() * 10);
    }
    return out;
}

}  // namespace

TEST_CASE("split makes every statement a unit, and a block one", "[rewrite][units]") {
    constexpr auto split = multi_statement_policy::split;
    CHECK(shape("aaa", split) == "a a a");
    CHECK(shape("abaaea", split) == "a baae a");
    CHECK(shape("abaa", split) == "a baa");
    CHECK(shape("aea", split) == "a e a");
    CHECK(shape("bae", split).empty());
    CHECK(shape("a", split).empty());
    CHECK(shape("", split).empty());
    CHECK(shape("aaa", split, true).empty());
}

TEST_CASE("split_on_rpc splits for a call outside of blocks only", "[rewrite][units]") {
    constexpr auto policy = multi_statement_policy::split_on_rpc;
    CHECK(shape("aaa", policy).empty());
    CHECK(shape("ara", policy) == "a r a");
    CHECK(shape("abrea", policy).empty());
    CHECK(shape("abrear", policy) == "a bre a r");
    CHECK(shape("ar", policy, true).empty());
    CHECK(shape("r", policy).empty());
    CHECK(shape("ar", multi_statement_policy::pass).empty());
}

TEST_CASE("a statement of ours cuts the batch whatever the policy", "[rewrite][units]") {
    constexpr auto pass = multi_statement_policy::pass;
    CHECK(shape("s", pass) == "S");
    CHECK(shape("aasaa", pass) == "aa S aa");
    CHECK(shape("ss", pass) == "S S");
    CHECK(shape("aasa", pass, true) == "aa S a");
    CHECK(shape("basae", multi_statement_policy::split) == "ba S ae");
    CHECK(shape("absaea", multi_statement_policy::split) == "a b S ae a");
}

TEST_CASE("a call in a block that is refused is a unit of its own", "[rewrite][units]") {
    const auto plan = plan_units(
        batch("arbrae"),
        multi_statement_policy::split_on_rpc,
        false,
        rewrite::rpc_in_transaction::refuse
    );
    std::string shape;
    for (const auto& unit : plan.units) {
        shape += std::to_string(unit.statements) + (unit.is_refused ? "!" : "");
    }
    CHECK(
        shape ==
        "111"
        "1!"
        "2"
    );
    const auto alone = plan_units(
        batch("r"), multi_statement_policy::pass, true, rewrite::rpc_in_transaction::refuse
    );
    REQUIRE(alone.units.size() == 1);
    CHECK(alone.units.front().is_refused);
}

TEST_CASE("a call in a block is a hazard, one outside is none", "[rewrite][units]") {
    constexpr auto policy = multi_statement_policy::split_on_rpc;
    CHECK(plan_units(batch("bre"), policy, false).rpc_in_block);
    CHECK(plan_units(batch("r"), policy, true).rpc_in_block);
    CHECK(plan_units(batch("ber"), policy, false).rpc_in_block == false);
    CHECK(plan_units(batch("er"), policy, true).rpc_in_block == false);
    CHECK(plan_units(batch("ar"), policy, false).rpc_in_block == false);
}
