use folder_transport as _;
use unix_socket_transport as _;

fn main() -> std::process::ExitCode {
    eidetica_node::main()
}
