//! The manual as man pages.

use clap_mangen::roff::{Inline, Roff, bold, italic, roman};

use super::markdown::{self, Block, Span, Style, plain};

/// A whole page. Its first heading is `Title: what it is about`.
pub(super) fn page(name: &str, section: u8, blocks: &[Block]) -> String {
    let mut roff = Roff::new();
    let source = concat!("makegood ", env!("CARGO_PKG_VERSION"));
    roff.control("TH", [name, &section.to_string(), "", source, "makegood"]);
    roff.control("SH", ["NAME"]);
    roff.text([roman(format!("{name} - {}", about(blocks)))]);
    roff.control("SH", ["DESCRIPTION"]);
    body(&mut roff, blocks);
    see_also(&mut roff);
    roff.to_roff()
}

/// The sections, for a page that already has its beginning.
pub(super) fn sections(blocks: &[Block]) -> String {
    let mut roff = Roff::new();
    let first = blocks.iter().position(|block| matches!(block, Block::Heading(2, _))).unwrap_or(blocks.len());
    body(&mut roff, &blocks[first..]);
    see_also(&mut roff);
    roff.to_roff()
}

fn about(blocks: &[Block]) -> String {
    let title = blocks.iter().find_map(|block| match block {
        Block::Heading(1, text) => Some(plain(text)),
        Block::Heading(..) | Block::Paragraph(_) | Block::Item(..) | Block::Code(..) | Block::Table(..) => None,
    });
    let title = title.unwrap_or_default();
    title.split_once(": ").map_or_else(|| title.clone(), |(_, about)| about.to_owned())
}

fn body(roff: &mut Roff, blocks: &[Block]) {
    for block in blocks {
        match block {
            Block::Heading(1, _) => {}
            Block::Heading(2, text) => {
                roff.control("SH", [plain(text).to_uppercase().as_str()]);
            }
            Block::Heading(_, text) => {
                roff.control("SS", [plain(text).as_str()]);
            }
            Block::Paragraph(text) => {
                roff.control("PP", []);
                roff.text(inlines(text));
            }
            Block::Item(number, text) => {
                let bullet = number.map_or_else(|| "\\(bu".to_owned(), |number| format!("{number}."));
                roff.control("IP", [bullet.as_str(), "4"]);
                roff.text(inlines(text));
            }
            Block::Code(_, text) => {
                roff.control("PP", []);
                roff.control("RS", ["4"]);
                roff.control("nf", []);
                for line in text.lines() {
                    roff.text([roman(line)]);
                }
                roff.control("fi", []);
                roff.control("RE", []);
            }
            Block::Table(head, rows) => rows.iter().for_each(|row| table_row(roff, head, row)),
        }
    }
}

/// The first cell is the tag; the others follow, a line each.
fn table_row(roff: &mut Roff, head: &[Vec<Span>], row: &[Vec<Span>]) {
    let Some((tag, cells)) = row.split_first() else { return };
    roff.control("TP", []);
    roff.text(inlines(tag));
    for (index, cell) in cells.iter().enumerate() {
        if index > 0 {
            roff.control("br", []);
        }
        let mut line = Vec::new();
        if let Some(name) = markdown::label(head, index + 1) {
            line.push(italic(name));
            line.push(roman(": "));
        }
        line.extend(inlines(cell));
        roff.text(line);
    }
}

fn see_also(roff: &mut Roff) {
    roff.control("SH", ["SEE ALSO"]);
    let pages =
        ["makegood(1)", "makegood.toml(5)", "makegood-ledger(5)", "makegood-delivery(7)", "makegood-decisions(7)"];
    roff.text([roman(pages.join(", "))]);
}

fn inlines(text: &[Span]) -> Vec<Inline> {
    let inline = |span: &Span| match span.style {
        Style::Plain => roman(&span.text),
        Style::Code | Style::Strong => bold(&span.text),
        Style::Emphasis => italic(&span.text),
    };
    text.iter().map(inline).collect()
}
