//! The node `eidetica` with the plugins that ship with it.

fn main() -> std::process::ExitCode {
    eidetica_node::main()
}
