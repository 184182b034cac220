#![doc = include_str!("../docs/rustdoc_links.md")]
#![doc = include_str!("../docs/src/introduction.md")]
// Each chapter is a module without content, so that rustdoc shows it and its examples are tests. A chapter's links to others are
// defined at its end, for mdBook; rustdoc takes those of `rustdoc_links.md`, since the first definition of a link holds.

#[doc = include_str!("../docs/rustdoc_links.md")]
#[doc = include_str!("../docs/src/first_steps.md")]
pub mod first_steps {}

#[doc = include_str!("../docs/rustdoc_links.md")]
#[doc = include_str!("../docs/src/data.md")]
pub mod data {}

#[doc = include_str!("../docs/rustdoc_links.md")]
#[doc = include_str!("../docs/src/sharing.md")]
pub mod sharing {}

#[doc = include_str!("../docs/rustdoc_links.md")]
#[doc = include_str!("../docs/src/sync.md")]
pub mod sync {}

#[doc = include_str!("../docs/rustdoc_links.md")]
#[doc = include_str!("../docs/src/node.md")]
pub mod node {}

#[doc = include_str!("../docs/rustdoc_links.md")]
#[doc = include_str!("../docs/src/config.md")]
pub mod config {}

#[doc = include_str!("../docs/rustdoc_links.md")]
#[doc = include_str!("../docs/src/quick_reference.md")]
pub mod quick_reference {}

#[doc = include_str!("../docs/rustdoc_links.md")]
#[doc = include_str!("../docs/src/troubleshooting.md")]
pub mod troubleshooting {}

#[cfg(test)]
mod tests {
    use std::path::Path;

    #[test]
    fn every_chapter_is_in_the_summary_and_in_rustdoc() {
        let book = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs");
        let summary = std::fs::read_to_string(book.join("src/SUMMARY.md")).unwrap();
        let links = std::fs::read_to_string(book.join("rustdoc_links.md")).unwrap();
        for file in std::fs::read_dir(book.join("src")).unwrap() {
            let file = file.unwrap().file_name().into_string().unwrap();
            let chapter = file.trim_end_matches(".md");
            if ["SUMMARY", "introduction"].contains(&chapter) {
                continue;
            }
            assert!(summary.contains(&format!("({file})")), "{file} isn't in SUMMARY.md");
            assert!(
                links.contains(&format!("crate::book::{chapter}\n")),
                "{chapter} isn't in rustdoc_links.md"
            );
            assert!(include_str!("book.rs").contains(&format!("/docs/src/{file}\")]\npub mod {chapter} ")));
        }
    }
}
