//! Markdown as the manual uses it: headings, paragraphs, flat lists, code, tables; code spans, emphasis, strong.
//!
//! Read by pulldown-cmark, which rustdoc uses too, so both agree on what is a table.
#![allow(clippy::wildcard_enum_match_arm, reason = "pulldown-cmark's events are not ours; the tests let no other in")]

use pulldown_cmark::{CodeBlockKind, Event, HeadingLevel, Options, Parser, Tag, TagEnd};

/// A piece of text in one style.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Span {
    /// How it is shown.
    pub style: Style,
    /// Without markup; spaces in place of line breaks.
    pub text: String,
}

/// How a piece of text is shown.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Style {
    /// As it is.
    Plain,
    /// A word of the program: bold in a man page, in backquotes on a terminal.
    Code,
    /// `**...**`
    Strong,
    /// `*...*`
    Emphasis,
}

/// One cell of a table, one paragraph, one heading.
pub type Text = Vec<Span>;

/// A part of a document.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Block {
    /// Level 1 to 3.
    Heading(u8, Text),
    /// A paragraph.
    Paragraph(Text),
    /// An item of a list, with its number where the list is numbered.
    Item(Option<u64>, Text),
    /// A code block: its language, and its text with a line break at the end.
    Code(String, String),
    /// A table: the head, and the rows.
    Table(Vec<Text>, Vec<Vec<Text>>),
}

/// The text without its markup.
pub fn plain(text: &[Span]) -> String {
    text.iter().map(|span| span.text.as_str()).collect()
}

/// The label of a cell behind the first, where a table is shown as a list. None where the column is the explanation itself.
pub fn label(head: &[Text], column: usize) -> Option<String> {
    let name = plain(head.get(column).map_or(&[][..], Vec::as_slice));
    (head.len() > 2 && !["meaning", "cause"].contains(&name.as_str())).then_some(name)
}

/// Reads a document.
pub fn read(text: &str) -> Vec<Block> {
    let mut reader = Reader::default();
    Parser::new_ext(text, Options::ENABLE_TABLES).for_each(|event| reader.event(event));
    reader.blocks
}

#[derive(Default)]
struct Reader {
    blocks: Vec<Block>,
    text: Text,
    styles: Vec<Style>,
    /// The number of the next item, where the list has numbers.
    number: Option<u64>,
    in_item: bool,
    code: Option<String>,
    cells: Vec<Text>,
    rows: Vec<Vec<Text>>,
}

impl Reader {
    fn event(&mut self, event: Event<'_>) {
        match event {
            Event::Text(text) => self.add(&text, self.styles.last().copied().unwrap_or(Style::Plain)),
            Event::Code(text) => self.add(&text, Style::Code),
            Event::SoftBreak | Event::HardBreak => self.add(" ", Style::Plain),
            Event::Start(tag) => self.start(&tag),
            Event::End(tag) => self.end(tag),
            _ => {}
        }
    }

    fn add(&mut self, text: &str, style: Style) {
        match self.text.last_mut() {
            Some(last) if last.style == style => last.text.push_str(text),
            Some(_) | None => self.text.push(Span { style, text: text.to_owned() }),
        }
    }

    fn start(&mut self, tag: &Tag<'_>) {
        match tag {
            Tag::Emphasis => self.styles.push(Style::Emphasis),
            Tag::Strong => self.styles.push(Style::Strong),
            Tag::List(first) => self.number = *first,
            Tag::Item => self.in_item = true,
            Tag::CodeBlock(CodeBlockKind::Fenced(language)) => self.code = Some(language.to_string()),
            Tag::CodeBlock(CodeBlockKind::Indented) => self.code = Some(String::new()),
            _ => {}
        }
    }

    fn end(&mut self, tag: TagEnd) {
        match tag {
            TagEnd::Emphasis | TagEnd::Strong => {
                self.styles.pop();
            }
            TagEnd::Heading(level) => {
                let level = match level {
                    HeadingLevel::H1 => 1,
                    HeadingLevel::H2 => 2,
                    _ => 3,
                };
                let text = self.take();
                self.blocks.push(Block::Heading(level, text));
            }
            TagEnd::Paragraph if !self.in_item => {
                let text = self.take();
                self.blocks.push(Block::Paragraph(text));
            }
            TagEnd::Item => {
                let text = self.take();
                self.blocks.push(Block::Item(self.number, text));
                self.number = self.number.map(|number| number + 1);
                self.in_item = false;
            }
            TagEnd::CodeBlock => {
                let text = plain(&self.take());
                let language = self.code.take().unwrap_or_default();
                self.blocks.push(Block::Code(language, text));
            }
            TagEnd::TableCell => {
                let text = self.take();
                self.cells.push(text);
            }
            TagEnd::TableHead | TagEnd::TableRow => self.rows.push(std::mem::take(&mut self.cells)),
            TagEnd::Table => {
                let mut rows = std::mem::take(&mut self.rows).into_iter();
                let head = rows.next().unwrap_or_default();
                self.blocks.push(Block::Table(head, rows.collect()));
            }
            _ => {}
        }
    }

    fn take(&mut self) -> Text {
        std::mem::take(&mut self.text)
    }
}
