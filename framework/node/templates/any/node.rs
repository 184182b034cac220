//! A node with the {{kind}} `{{name}}` beside the plugins that ship: `cargo run --example {{name}}-node -- plugins list`.

use {{ident}} as _;

fn main() -> std::process::ExitCode {
    eidetica_node::main()
}
