#include "proxy/lifecycle.hpp"

#include <CLI/CLI.hpp>

#include <cstdio>

int main(int argc, char** argv) {
    CLI::App app{"Signalbox: a PostgreSQL wire-protocol proxy", "signalbox"};
    app.set_version_flag("--version", "signalbox " SIGNALBOX_VERSION);
    app.require_subcommand(1);
    std::string file;
    auto* const serve = app.add_subcommand("serve", "Accept clients until SIGTERM or SIGINT");
    auto* const check = app.add_subcommand("check", "Check a configuration and the files it names");
    for (auto* const command : {serve, check}) {
        command->add_option("--config", file, "The configuration, a TOML file")->required();
    }
    try {
        app.parse(argc, argv);
    } catch (const CLI::Success& e) {  // --help, --version
        return app.exit(e);
    } catch (const CLI::ParseError& e) {
        app.exit(e);
        return signalbox::proxy::exit_usage;
    }
    return serve->parsed() ? signalbox::proxy::serve(file) : signalbox::proxy::check(file);
}
