// The options of CREATE CONNECTION and the changes of ALTER CONNECTION: what they refuse, and how
// changes are kept against the file.
#include "catalog/option_changes.hpp"

#include "tests/support/connection_world.hpp"

#include <catch2/catch.hpp>

#include <algorithm>
#include <map>
#include <random>
#include <string>
#include <vector>

namespace {

using namespace signalbox::catalog;
using namespace signalbox::tests;
using signalbox::parser::option_change;
using signalbox::parser::option_setting;
using action = option_change::action_kind;

}  // namespace

TEST_CASE("connections: the options of CREATE", "[catalog]") {
    const connection_kind& kind = kind_of(postgres);
    CHECK(
        options_of(kind, {{"PORT", "1"}, {"HOST", "h"}, {"PASSWORD", secret("pw")}}) ==
        option_map{{"HOST", "h"}, {"PASSWORD", secret("pw")}, {"PORT", "1"}}
    );

    struct row {
        std::vector<option_setting> settings;
        std::string message;
    };

    const auto tried = GENERATE(
        row{{{"HOST", "a"}, {"BROKER", "b"}}, "POSTGRES connections do not support BROKER values"},
        row{{{"HOST", "a"}, {"HOST", "a"}}, "HOST specified more than once"},
        row{{{"HOST", "a"}, {"HOST", "a"}, {"SERVICE NAME", "s"}},  // the type comes first
            "POSTGRES connections do not support SERVICE NAME values"}
    );
    const refusal found = refusal_of([&] { return options_of(kind, tried.settings); });
    CHECK(found.sqlstate == "42601");
    CHECK(found.message == tried.message);
}

TEST_CASE("connections: changes that are refused", "[catalog]") {
    struct row {
        std::vector<option_change> changes;
        std::string message;
    };

    const auto tried = GENERATE(
        row{{{action::set, "BROKER", "b"}}, "POSTGRES connections do not support BROKER values"},
        row{{{action::drop, "BROKER", {}}}, "POSTGRES connections do not support BROKER values"},
        row{{{action::reset, "BROKER", {}}}, "POSTGRES connections do not support BROKER values"},
        row{{{action::set, "HOST", "a"}, {action::set, "HOST", "a"}},
            "HOST specified more than once"},
        row{{{action::set, "HOST", "a"}, {action::drop, "HOST", {}}},
            "cannot both SET and DROP/RESET options HOST"},
        row{{{action::reset, "HOST", {}}, {action::set, "HOST", "a"}},
            "cannot both SET and DROP/RESET options HOST"},
        row{{{action::set, "USER", "u"},
             {action::set, "PORT", "1"},
             {action::set, "DATABASE", "d"},
             {action::reset, "USER", {}},
             {action::drop, "PORT", {}}},
            "cannot both SET and DROP/RESET options PORT, USER"},
        row{{{action::drop, "PORT", {}}, {action::reset, "PORT", {}}},
            "cannot both DROP and RESET options PORT"},
        // the type, then duplicates, then conflicts
        row{{{action::set, "HOST", "a"},
             {action::drop, "HOST", {}},
             {action::set, "HOST", "b"},
             {action::drop, "BROKER", {}}},
            "POSTGRES connections do not support BROKER values"},
        row{{{action::set, "HOST", "a"}, {action::drop, "HOST", {}}, {action::set, "HOST", "b"}},
            "HOST specified more than once"},
        row{{{action::set, "HOST", "a"},
             {action::drop, "HOST", {}},
             {action::drop, "PORT", {}},
             {action::reset, "PORT", {}}},
            "cannot both SET and DROP/RESET options HOST"}
    );
    const option_map file{{"HOST", "f"}};
    const refusal found = refusal_of([&] {
        return change_options(kind_of(postgres), &file, {{"PORT", "1"}}, tried.changes);
    });
    CHECK(found.sqlstate == "42601");
    CHECK(found.message == tried.message);
}

TEST_CASE("connections: changes are kept against the file", "[catalog]") {
    const connection_kind& kind = kind_of(postgres);
    const option_map file{{"HOST", "f"}, {"PORT", "1"}};
    const std::vector<option_change> changes{
        {action::set, "USER", "u"},
        {action::drop, "PORT", {}},
        {action::drop, "PORT", {}},  // twice is fine
        {action::drop, "DATABASE", {}},
        {action::reset, "HOST", {}},
        {action::reset, "HOST", {}}};
    const option_overrides before{{"HOST", "s"}, {"DATABASE", "d"}};
    CHECK(
        change_options(kind, &file, before, changes) ==
        option_overrides{{"PORT", std::nullopt}, {"USER", "u"}}
    );
    CHECK(change_options(kind, nullptr, before, changes) == option_overrides{{"USER", "u"}});
    CHECK(change_options(kind, &file, before, {}) == before);
    // set to what the file says, it stays when the file changes
    const auto same = change_options(kind, &file, {}, {{action::set, "HOST", "f"}});
    const option_map later{{"HOST", "later"}};
    CHECK(effective_options(&later, same) == option_map{{"HOST", "f"}});
    // a DROP of what the file no longer has is nothing
    CHECK(effective_options(&later, {{"PORT", std::nullopt}}) == later);
}

TEST_CASE("connections: any sequence of changes equals its outcome from scratch", "[catalog]") {
    // The model knows no overrides: for each option, the last change that touched it decides.
    constexpr std::size_t runs = 400;
    const connection_kind& kind = kind_of(postgres);
    const std::vector<std::string> names{kind.options().begin(), kind.options().end()};
    std::mt19937 random{20240701};
    const auto below = [&](std::size_t limit) {
        return std::uniform_int_distribution<std::size_t>{0, limit - 1}(random);
    };
    const auto any_value = [&]() -> option_value {
        const std::string text = std::to_string(below(5));
        switch (below(3)) {
            case 0:
                return text;
            case 1:
                return secret(text);
            default:
                return texts{text, text};
        }
    };
    std::size_t changes_made = 0;
    for (std::size_t run = 0; run < runs; ++run) {
        option_map file;
        for (const std::string& name : names) {
            if (below(2) == 0) {
                file.emplace(name, any_value());
            }
        }
        const bool is_in_file = run % 2 == 0;
        const option_map* const base = is_in_file ? &file : nullptr;
        std::map<std::string, option_change> last;
        option_overrides kept;
        option_overrides kept_in_statements;
        std::vector<option_change> statement;
        for (std::size_t step = below(40); step > 0; --step) {
            option_change change{static_cast<action>(below(3)), names[below(names.size())], {}};
            if (change.action == action::set) {
                change.value = any_value();
            }
            last.insert_or_assign(change.name, change);
            kept = change_options(kind, base, kept, {change});
            ++changes_made;
            // the same, several in one statement
            const bool is_new = std::none_of(statement.begin(), statement.end(), [&](auto& each) {
                return each.name == change.name;
            });
            if (!is_new || below(4) == 0) {
                kept_in_statements = change_options(kind, base, kept_in_statements, statement);
                statement.clear();
            }
            statement.push_back(change);
        }
        kept_in_statements = change_options(kind, base, kept_in_statements, statement);

        option_map expected;
        for (const std::string& name : names) {
            const auto found = last.find(name);
            if (found != last.end() && found->second.action == action::set) {
                expected.emplace(name, *found->second.value);
            } else if (is_in_file && file.contains(name) && (found == last.end() || found->second.action == action::reset)) {
                expected.emplace(name, file.at(name));
            }
        }
        REQUIRE(effective_options(base, kept) == expected);
        REQUIRE(kept_in_statements == kept);
        for (const auto& [name, value] : kept) {  // only what differs from having no change is kept
            REQUIRE((value || (is_in_file && file.contains(name))));
        }
    }
    CHECK(changes_made > 5 * runs);
}
