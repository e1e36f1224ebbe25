//! The form of the manual: its Markdown, and where its topics are listed. `words` checks its words.

use clap::CommandFactory;
use pulldown_cmark::{Event, Options, Parser, Tag};

use super::{
    Topic,
    markdown::{self, Block, plain},
    pages,
};
use crate::cli::Cli;

#[test]
fn the_texts_keep_to_the_markdown_that_is_understood() {
    for topic in Topic::ALL {
        let name = topic.as_str();
        let mut lists = 0;
        for event in Parser::new_ext(topic.text(), Options::ENABLE_TABLES) {
            match &event {
                Event::Html(_) | Event::InlineHtml(_) | Event::Rule | Event::FootnoteReference(_) => {
                    panic!("{name}: {event:?}")
                }
                Event::Start(Tag::List(_)) => lists += 1,
                Event::End(pulldown_cmark::TagEnd::List(_)) => lists -= 1,
                Event::Start(Tag::Link { .. } | Tag::Image { .. } | Tag::BlockQuote(_)) => panic!("{name}: {event:?}"),
                Event::Start(_)
                | Event::End(_)
                | Event::Text(_)
                | Event::Code(_)
                | Event::InlineMath(_)
                | Event::DisplayMath(_)
                | Event::SoftBreak
                | Event::HardBreak
                | Event::TaskListMarker(_) => {}
            }
            assert!(lists <= 1, "{name}: a list inside a list");
        }
        let blocks = markdown::read(topic.text());
        assert!(
            matches!(&blocks[0], Block::Heading(1, title) if plain(title).contains(": ")),
            "{name}: {:?}",
            blocks[0]
        );
        for block in blocks {
            match block {
                // rustdoc takes a block without a language for Rust, and runs it.
                Block::Code(language, _) => assert!(!language.is_empty(), "{name}: a code block without a language"),
                Block::Table(head, rows) => assert!(rows.iter().all(|row| row.len() == head.len()), "{name}: {head:?}"),
                Block::Heading(..) | Block::Paragraph(_) | Block::Item(..) => {}
            }
        }
    }
}

#[test]
fn every_topic_is_listed_where_the_topics_are() {
    for topic in Topic::ALL {
        assert_eq!(Topic::from_word(topic.as_str()), Some(topic));
        let help = Cli::command().find_subcommand("help").unwrap().get_about().unwrap().to_string();
        assert!(help.contains(topic.as_str()), "{help}");
    }
}

#[test]
fn man_pages_have_what_mandb_looks_for() {
    let pages = pages();
    let names: Vec<&str> = pages.iter().map(|(name, _)| name.as_str()).collect();
    assert_eq!(names, ["makegood-delivery.7", "makegood-ledger.5", "makegood-decisions.7", "makegood.toml.5"]);
    for (name, page) in &pages {
        let stem = name.rsplit_once('.').unwrap().0.replace('-', "\\-");
        assert!(page.contains(&format!(".SH NAME\n{stem} \\- ")), "{name}: {}", &page[..300]);
        assert!(page.contains(".SH \"SEE ALSO\""), "{name}");
    }
    let sections = super::operation_sections();
    for heading in ["\"EXIT STATUS\"", "FILES", "SIGNALS", "ENVIRONMENT", "EXAMPLES", "JSON"] {
        assert!(sections.contains(&format!(".SH {heading}\n")), "{heading}");
    }
}
