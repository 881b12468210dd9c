//! Tables and JSON.

use std::fmt::Display;
use std::io::{self, IsTerminal, Write};

use clap::ValueEnum;
use comfy_table::{CellAlignment, Table, presets};
use serde::Serialize;

/// How to print.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Format {
    /// For people
    Table,
    /// What the API answered
    Json,
}

/// Where answers are printed.
pub struct Output<'a> {
    format: Format,
    to: Box<dyn Write + 'a>,
    terminal: bool,
}

impl Output<'static> {
    /// Prints to standard output.
    pub fn stdout(format: Format) -> Self {
        Self { format, to: Box::new(io::stdout()), terminal: io::stdout().is_terminal() }
    }
}

impl<'a> Output<'a> {
    /// Prints into a buffer.
    #[cfg(test)]
    pub fn buffer(format: Format, to: &'a mut Vec<u8>) -> Self {
        Self { format, to: Box::new(to), terminal: false }
    }

    /// Whether JSON is wanted.
    pub fn is_json(&self) -> bool {
        self.format == Format::Json
    }

    /// Prints an answer: as it is, or with `table`.
    pub fn show<T: Serialize>(&mut self, answer: &T, table: impl FnOnce(&T) -> String) {
        let text = match self.format {
            Format::Table => table(answer),
            Format::Json => serde_json::to_string_pretty(answer).unwrap_or_else(|error| error.to_string()),
        };
        self.line(&text);
    }

    /// Prints a sentence about something done; nothing where programs read.
    pub fn done(&mut self, what: impl Display) {
        if !self.is_json() {
            self.line(&what.to_string());
        }
    }

    /// Prints text.
    pub fn line(&mut self, text: &str) {
        if writeln!(self.to, "{}", text.trim_end()).and_then(|()| self.to.flush()).is_err() {
            // The reader is gone (`leat … | head`): nobody is left to tell.
            std::process::exit(0);
        }
    }

    /// On a terminal, begins a new screen.
    pub fn new_screen(&mut self) {
        if self.terminal && !self.is_json() {
            self.line("\x1b[2J\x1b[H");
        }
    }
}

/// A table; columns whose title begins with `#` hold numbers and are aligned to the right.
pub fn table<const N: usize>(titles: [&str; N], rows: impl IntoIterator<Item = [String; N]>) -> String {
    let mut table = Table::new();
    table.load_style(presets::NOTHING);
    table.set_header(titles.map(|title| title.trim_start_matches('#').to_uppercase()));
    for row in rows {
        table.add_row(row);
    }
    for (index, title) in titles.iter().enumerate() {
        if let Some(column) = table.column_mut(index) {
            // Two blanks between columns, none at the edge.
            column.set_padding((0, 2));
            if title.starts_with('#') {
                column.set_cell_alignment(CellAlignment::Right);
            }
        }
    }
    table.lines().map(|line| line.trim_end().to_owned()).collect::<Vec<_>>().join("\n")
}

/// A table, or what to say when there are no rows.
pub fn list<const N: usize>(nothing: &str, titles: [&str; N], rows: impl IntoIterator<Item = [String; N]>) -> String {
    let mut rows = rows.into_iter().peekable();
    if rows.peek().is_none() { nothing.to_owned() } else { table(titles, rows) }
}

/// `key: value` lines, the values under one another.
pub fn fields(fields: &[(&str, String)]) -> String {
    let width = fields.iter().map(|(name, _)| name.len()).max().unwrap_or(0) + 2;
    let lines: Vec<String> =
        fields.iter().map(|(name, value)| format!("{:width$}{value}", format!("{name}:"))).collect();
    lines.join("\n")
}
