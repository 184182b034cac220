//! The store suite of the conformance kit, run against `{{name}}` on payloads that the handle writes.

use std::process::ExitCode;
use std::sync::Arc;

use eidetica_conformance::store::{Payload, PayloadSource, Random, Seen, Suite, TestTx};
use eidetica_kernel::StoreHandle as _;
use {{ident}}::{{{Type}}Register, {{Type}}Store};

struct Texts;

impl PayloadSource for Texts {
    fn write(&mut self, random: &mut Random, seen: &Seen<'_>) -> Payload {
        let tx = TestTx::on(seen.rows.clone(), random.bits());
        let register = {{Type}}Register::open(tx.clone()).expect("a handle opens");
        let text = "x".repeat(random.below(100));
        register.set(&text).expect("a text is staged");
        assert_eq!(register.get().expect("it can be read"), Some(text), "what was staged is read");
        let (version, body) = tx.encode().expect("it is a payload").expect("something was staged");
        Payload { version, body }
    }
}

fn main() -> ExitCode {
    Suite::new("{{name}}", || Arc::new({{Type}}Store), || Box::new(Texts)).main()
}
