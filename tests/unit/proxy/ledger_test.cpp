// The pipeline ledger: order, what ends a batch, and how many ReadyForQuery are still to come.
#include "proxy/ledger.hpp"

#include <catch2/catch.hpp>

using namespace signalbox::proxy;

TEST_CASE("entries leave in the order in which they came", "[proxy][ledger]") {
    ledger requests;
    CHECK(requests.empty());
    requests.push(request::parse);
    requests.push(request::bind, reply::swallow);
    requests.push(request::sync);
    CHECK(requests.size() == 3);
    CHECK(requests[1].kind == request::bind);
    CHECK(requests[1].action == reply::swallow);
    CHECK(requests.front().kind == request::parse);
    requests.pop();
    CHECK(requests.front().kind == request::bind);
    CHECK(requests[1].kind == request::sync);
    requests.erase(0);
    CHECK(requests.front().kind == request::sync);
    requests.pop();
    CHECK(requests.empty());
    requests.push(request::query);
    CHECK(requests.front().kind == request::query);
    CHECK(requests.size() == 1);
}

TEST_CASE("the batches are counted", "[proxy][ledger]") {
    ledger requests;
    for (const auto kind :
         {request::query,
          request::sync,
          request::function_call,
          request::setup,
          request::sequences,
          request::inspection,
          request::restoration}) {
        requests.push(kind);
        CHECK(requests[requests.size() - 1].ends_batch());
    }
    CHECK(requests.batches() == 7);
    for (const auto kind :
         {request::parse,
          request::bind,
          request::describe,
          request::execute,
          request::close,
          request::copy_end}) {
        requests.push(kind);
        CHECK_FALSE(requests[requests.size() - 1].ends_batch());
    }
    CHECK(requests.batches() == 7);
    requests.pop();
    requests.erase(0);
    CHECK(requests.batches() == 5);
    requests.clear();
    CHECK(requests.batches() == 0);
    CHECK(requests.empty());
}

TEST_CASE("an answer of our own ends a batch only for DEALLOCATE", "[proxy][ledger]") {
    ledger requests;
    auto& entry = requests.push(request::local);
    entry.detail = std::make_unique<ledger_detail>();
    CHECK_FALSE(entry.ends_batch());
    entry.detail->is_deallocate = true;
    CHECK(entry.ends_batch());
    CHECK(requests.batches() == 0);  // no ReadyForQuery of the server
}

TEST_CASE("what an entry holds is let go when it leaves", "[proxy][ledger]") {
    ledger requests;
    const auto statement = std::make_shared<const signalbox::rewrite::prepared_statement>();
    for (int i = 0; i < 2; ++i) {
        auto& entry = requests.push(request::parse);
        entry.detail = std::make_unique<ledger_detail>();
        entry.detail->statement = statement;
    }
    CHECK(statement.use_count() == 3);
    requests.pop();
    CHECK(statement.use_count() == 2);
    requests.erase(0);
    CHECK(statement.use_count() == 1);
}

TEST_CASE("a long pipeline drains", "[proxy][ledger]") {
    ledger requests;
    for (int round = 0; round < 3; ++round) {
        for (int i = 0; i < 10'000; ++i) {
            requests.push(i % 4 == 3 ? request::sync : request::bind);
        }
        CHECK(requests.batches() == 2'500);
        while (!requests.empty()) {
            requests.pop();
        }
        CHECK(requests.batches() == 0);
    }
}

TEST_CASE(
    "what has been answered goes, also where there is always something under way", "[proxy][ledger]"
) {
    ledger requests;
    requests.push(request::parse);
    for (int i = 0; i < 100'000; ++i) {
        requests.push(i % 2 == 0 ? request::bind : request::sync);
        requests.pop();
        REQUIRE(requests.size() == 1);
    }
    CHECK(requests.front().kind == request::sync);
    CHECK(requests.batches() == 1);
    CHECK(requests.kept() < 5'000);
}
