//! `makegood help`: a topic of the manual for a terminal, or clap's help of a command.

use std::fmt::Write;

use clap::Parser;
use serde_json::json;

use super::{Exit, Failure, print, print_json, text};
use crate::{
    cli::Cli,
    manual::{
        Topic,
        markdown::{self, Block, Span, Style, plain},
    },
};

/// A longer label of a table has a line of its own.
const LABEL_MAX: usize = 22;

pub(super) fn help(cli: &Cli, words: &[String]) -> Result<Exit, Failure> {
    if let [word] = words
        && let Some(topic) = Topic::from_word(word)
    {
        if cli.json {
            print_json(&json!({ "topic": word, "text": topic.text() }))?;
        } else {
            print(&in_words(&markdown::read(topic.text())))?;
        }
        return Ok(Exit::Done);
    }
    let command = words.iter().map(String::as_str).filter(|word| !word.starts_with('-'));
    let args = std::iter::once("makegood").chain(command).chain(["--help"]);
    // clap answers `--help`, and unknown commands, with an error that can print itself.
    let Err(shown) = Cli::try_parse_from(args) else {
        return Ok(Exit::Done);
    };
    if shown.use_stderr() {
        let topics: Vec<&str> = Topic::ALL.into_iter().map(Topic::as_str).collect();
        let topics = topics.join(", ");
        return Err(Failure::usage(anyhow::anyhow!(
            "there is no command and no topic `{}`: the topics are {topics}; `makegood help` lists the commands",
            words.join(" ")
        )));
    }
    if cli.json {
        print_json(&json!({ "command": words.join(" "), "text": shown.render().to_string() }))?;
    } else {
        // A reader that has closed the pipe is no error of ours.
        let _gone = shown.print();
    }
    Ok(Exit::Done)
}

fn in_words(blocks: &[Block]) -> String {
    let mut out = String::new();
    for (index, block) in blocks.iter().enumerate() {
        let in_list =
            matches!((block, index.checked_sub(1).map(|at| &blocks[at])), (Block::Item(..), Some(Block::Item(..))));
        if index > 0 && !in_list {
            out.push('\n');
        }
        match block {
            Block::Heading(level, text) => heading(&mut out, *level, &plain(text)),
            Block::Paragraph(spans) => out.push_str(&text::paragraph(&quoted(spans), 0)),
            Block::Item(number, spans) => {
                let bullet = number.map_or_else(|| "-".to_owned(), |number| format!("{number}."));
                out.push_str(&hanging(&bullet, &quoted(spans), 4));
            }
            Block::Code(_, code) => code.lines().for_each(|line| {
                let _infallible = writeln!(out, "{}", format!("    {line}").trim_end());
            }),
            Block::Table(head, rows) => table(&mut out, head, rows),
        }
    }
    out
}

fn heading(out: &mut String, level: u8, text: &str) {
    let line = match level {
        1 => '=',
        2 => '-',
        _ => {
            let _infallible = writeln!(out, "{text}:");
            return;
        }
    };
    let _infallible = writeln!(out, "{text}\n{}", line.to_string().repeat(text.chars().count()));
}

/// The first cell is a label. The others go beside it, a line each.
fn table(out: &mut String, head: &[Vec<Span>], rows: &[Vec<Vec<Span>>]) {
    let label = |row: &[Vec<Span>]| row.first().map(|cell| plain(cell)).unwrap_or_default();
    let longest = rows.iter().map(|row| label(row).chars().count()).max().unwrap_or(0);
    let width = if longest <= LABEL_MAX { longest + 4 } else { 6 };
    for row in rows {
        let cells = row.get(1..).unwrap_or_default();
        let mut lines: Vec<String> = Vec::new();
        for (index, cell) in cells.iter().enumerate() {
            let name = markdown::label(head, index + 1);
            lines.push(name.map_or_else(|| quoted(cell), |name| format!("{name}: {}", quoted(cell))));
        }
        let first = if lines.is_empty() { String::new() } else { lines.remove(0) };
        out.push_str(&hanging(&format!("  {}", label(row)), &first, width));
        for line in lines {
            out.push_str(&text::paragraph(&line, width));
        }
    }
}

/// A label, and the text beside it, or below where the label is too long.
fn hanging(label: &str, words: &str, indent: usize) -> String {
    let body = text::paragraph(words, indent);
    let used = label.chars().count();
    if used < indent {
        return format!("{label}{}{}", " ".repeat(indent - used), body.trim_start());
    }
    format!("{label}\n{body}")
}

/// Code in backquotes, so that a reader can tell a command from its sentence, and copy it.
fn quoted(text: &[Span]) -> String {
    let shown = |span: &Span| match span.style {
        Style::Code => format!("`{}`", span.text),
        Style::Plain | Style::Strong | Style::Emphasis => span.text.clone(),
    };
    text.iter().map(shown).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_topic_fits_eighty_columns_except_lines_to_copy() {
        for topic in Topic::ALL {
            let shown = in_words(&markdown::read(topic.text()));
            for line in shown.lines().filter(|line| !line.starts_with("    ")) {
                assert!(line.chars().count() <= 80, "{}: {line}", topic.as_str());
            }
        }
    }

    #[test]
    fn a_table_is_a_list_of_words_and_what_they_mean() {
        let text = "| key | default | meaning |\n| --- | --- | --- |\n| `grace` | `15m` | how long |\n";
        assert_eq!(in_words(&markdown::read(text)), "  grace  default: `15m`\n         how long\n");
        let text = "| state | meaning |\n| --- | --- |\n| `held` | a person decides |\n";
        assert_eq!(in_words(&markdown::read(text)), "  held  a person decides\n");
        let text = "- one\n- two\n  more\n\n1. first\n2. second\n";
        assert_eq!(in_words(&markdown::read(text)), "-   one\n-   two more\n1.  first\n2.  second\n");
    }
}
