// Runs a function in a thread with the stack that statement_rules::decide() asks for.
#pragma once

#include "parser/statements.hpp"

#include <exception>
#include <functional>
#include <pthread.h>
#include <stdexcept>

namespace signalbox::tests {

inline void on_stack_of(std::size_t bytes, std::function<void()> work) {
    struct job {
        std::function<void()> work;
        std::exception_ptr failure;
    } todo{std::move(work), nullptr};

    pthread_attr_t attributes{};
    pthread_t thread{};
    pthread_attr_init(&attributes);
    pthread_attr_setstacksize(&attributes, bytes);
    const auto run = [](void* argument) -> void* {
        auto& mine = *static_cast<job*>(argument);
        try {
            mine.work();
        } catch (...) {
            mine.failure = std::current_exception();
        }
        return nullptr;
    };
    const int failed = pthread_create(&thread, &attributes, run, &todo);
    pthread_attr_destroy(&attributes);
    if (failed != 0) {
        throw std::runtime_error{"no thread with a deep stack"};
    }
    pthread_join(thread, nullptr);
    if (todo.failure) {
        std::rethrow_exception(todo.failure);
    }
}

inline void on_deep_stack(std::function<void()> work) {
    on_stack_of(parser::statement_rules::deep_stack_bytes, std::move(work));
}

}  // namespace signalbox::tests
