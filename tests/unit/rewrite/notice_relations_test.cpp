// The relations about notices: their rows, who may read them, and that the text is made once.
#include "rewrite/notice_relations.hpp"

#include "tests/support/notices.hpp"

#include <catch2/catch.hpp>

#include <algorithm>

using namespace signalbox;
using namespace signalbox::rewrite;
using namespace signalbox::tests;
using catalog::notice_reader;

namespace {

constexpr std::string_view first = "a0000000-0000-4000-8000-000000000000";
constexpr std::string_view second = "b0000000-0000-4000-8000-000000000000";

catalog::stored_notice notice(std::string_view fingerprint, std::int64_t us) {
    const catalog::timestamp when{std::chrono::microseconds{us}};
    return {
        .fingerprint = std::string{fingerprint},
        .connection_id = "u1",
        .database = "app",
        .type = "Comparison with NULL",
        .message = "x = 42",
        .hint = "use IS NULL",
        .action = "",
        .redacted_message = "x = █",
        .redacted_hint = std::nullopt,
        .redacted_action = std::nullopt,
        .action_type = "",
        .object_id = "o2",
        .dependency_ids = {"o10", "o1"},
        .created_at = when,
        .updated_at = when,
        .is_resolved = false};
}

/// `second` is older and ignored.
catalog::notice_snapshot_ptr some(std::uint64_t version = 1) {
    auto out = std::make_shared<catalog::notice_snapshot>();
    out->version = version;
    for (auto each : {notice(first, 2), notice(second, 1)}) {
        auto kept = std::make_shared<const catalog::stored_notice>(std::move(each));
        out->notices.emplace(kept->fingerprint, kept);
    }
    for (const std::string id : {"o1", "o2", "o10"}) {
        out->objects.emplace(
            id,
            std::make_shared<const catalog::stored_object>(catalog::stored_object{
                .id = id,
                .oid = 4'294'967'295,
                .connection_id = "u1",
                .database = "app",
                .schema = "public",
                .name = "v",
                .type = "view",
                .owner = id == "o1" ? "" : "app"})
        );
    }
    out->ignored.emplace(
        second,
        catalog::ignored_notice{
            .fingerprint = std::string{second},
            .ignored_by = "boss",
            .ignored_at = catalog::timestamp{},
            .last_seen_at = catalog::timestamp{}}
    );
    return out;
}

const relation& named(std::string_view name) {
    const auto* const found = find_relation(name);
    REQUIRE(found != nullptr);
    return *found;
}

std::string text_at(const relation_row& row, std::size_t column) {
    const auto* const text = std::get_if<std::string>(&row.at(column));
    return text != nullptr ? *text : "NULL";
}

/// rows_text() from the count on, with characters that can be read.
std::string readable(const relation& r, std::span<const relation_row> rows) {
    auto text = rows_text(r, rows).substr(5);
    std::replace(text.begin(), text.end(), '\x1d', '|');
    std::replace(text.begin(), text.end(), '\x1f', ';');
    std::replace(text.begin(), text.end(), '\x1e', '-');
    return text;
}

}  // namespace

TEST_CASE("the relations about notices: every one has its rows, a value for each column") {
    const auto known = some();
    std::size_t count = 0;
    for (const auto& each : relations()) {
        CAPTURE(each.name);
        const bool is_ours =
            each.name == "mz_objects" || each.name.find("notices") != std::string_view::npos;
        CHECK(is_notice_relation(each) == is_ours);
        const auto rows = notice_relation_rows(each, *known);
        CHECK(rows.empty() == !is_ours);
        for (const auto& row : rows) {
            CHECK(row.size() == each.columns.size());
        }
        count += is_ours ? 1 : 0;
    }
    CHECK(count == 6);
}

TEST_CASE("the relations about notices: their rows") {
    const auto known = some();
    CHECK(
        readable(named("mz_notices"), notice_rows(*known)) ==
        "2|Comparison with NULL;Comparison with NULL;|x = 42;x = 42;|use IS NULL;use IS NULL;|-;-;|"
        "x = █;x = █;|-;-;|-;-;|-;-;|o2;o2;|{\"o10\",\"o1\"};{\"o10\",\"o1\"};|"
        "1970-01-01T00:00:00.000001Z;1970-01-01T00:00:00.000002Z;|"
        "1970-01-01T00:00:00.000001Z;1970-01-01T00:00:00.000002Z;|"
        "b0000000-0000-4000-8000-000000000000;a0000000-0000-4000-8000-000000000000;|ignored;new;"
    );
    for (const auto* const name : {"mz_notices_redacted", "mz_optimizer_notices_redacted"}) {
        const auto rows = notice_relation_rows(named(name), *known);
        REQUIRE(rows.size() == 2);
        CHECK(text_at(rows[0], 1) == "x = █");
        CHECK(text_at(rows[0], 2) == "use IS NULL");  // it has no literal
        CHECK(text_at(rows[0], 3) == "NULL");
        CHECK(text_at(rows[0], 4) == "x = █");
        CHECK(rows_text(named(name), rows).find("42") == std::string::npos);
    }
    CHECK(
        notice_relation_rows(named("mz_optimizer_notices"), *known) ==
        notice_relation_rows(named("mz_notices"), *known)
    );
    CHECK(
        readable(named("mz_ignored_optimizer_notices"), ignored_notice_rows(*known)) ==
        "1|b0000000-0000-4000-8000-000000000000;|boss;|1970-01-01T00:00:00.000000Z;"
    );
    const auto objects = object_rows(*known);
    REQUIRE(objects.size() == 3);
    CHECK(text_at(objects[2], 0) == "o10");
    CHECK(
        readable(named("mz_objects"), std::span{objects}.first(1)) ==
        "1|o1;|4294967295;|u1;|app;|public;|v;|view;|-;"
    );
}

TEST_CASE("the relations about notices: who may read them") {
    const schema_names names{.catalog = "mz_catalog", .internal = "Box"};
    for (const auto& each : relations()) {
        CAPTURE(each.name);
        const bool is_redacted = each.name.ends_with("_redacted");
        CHECK_FALSE(refuse_reading(each, notice_reader::superuser, names));
        const auto support = refuse_reading(each, notice_reader::support, names);
        const auto other = refuse_reading(each, notice_reader::other, names);
        CHECK(support.has_value() == (is_notice_relation(each) && !is_redacted));
        CHECK(other.has_value() == is_notice_relation(each));
        for (const auto& refused : {support, other}) {
            CHECK((!refused || refused->sqlstate == "42501"));
        }
    }
    const auto support = refuse_reading(named("mz_notices"), notice_reader::support, names);
    REQUIRE(support);
    CHECK(support->message == "permission denied for table mz_notices");
    CHECK(support->hint == "Read \"Box\".mz_notices_redacted in its place.");
    const auto other = refuse_reading(named("mz_optimizer_notices"), notice_reader::other, names);
    REQUIRE(other);
    CHECK(
        other->hint ==
        "A user with the role \"support\" may read \"Box\".mz_optimizer_notices_redacted."
    );
    const auto objects = refuse_reading(named("mz_objects"), notice_reader::support, names);
    REQUIRE(objects);
    CHECK(objects->hint == "Only a user with the role \"superuser\" may read it.");
}

TEST_CASE("the relations about notices: a snapshot's text is made once") {
    relation_texts<catalog::notice_snapshot> texts{&notice_relation_rows};
    const auto& plain = named("mz_notices");
    const auto& redacted = named("mz_notices_redacted");
    const auto one = some(1);
    const auto text = texts.text(plain, one);
    CHECK(*text == rows_text(plain, notice_rows(*one)));
    CHECK(texts.text(redacted, one) != text);
    CHECK(*texts.text(redacted, one) == rows_text(redacted, redacted_notice_rows(*one)));
    CHECK(texts.text(plain, one) == text);
    const auto next = std::make_shared<catalog::notice_snapshot>();
    next->version = 2;
    const auto empty = texts.text(plain, next);
    CHECK(*empty == rows_text(plain, {}));
    // A statement that began earlier has its own snapshot still, and does not undo the newer one.
    CHECK(*texts.text(plain, one) == *text);
    CHECK(texts.text(plain, next) == empty);
}
