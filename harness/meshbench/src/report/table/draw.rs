use comfy_table::{
    Attribute, Cell, CellAlignment, ColumnConstraint, ContentArrangement, LineStyle, Table,
    TableStyle, Width, presets,
};

/// How to draw.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Style {
    /// Whether to colour; every colour also has a sign.
    pub color: bool,
    /// Columns of the terminal.
    pub width: u16,
}

/// An empty table with a rule below its header; the columns `right` hold numbers.
pub(in crate::report) fn ruled(
    style: Style,
    header: &[&str],
    right: impl IntoIterator<Item = usize>,
) -> Table {
    let mut table = blank(style);
    let rule = LineStyle::none().fill('─').junction('─');
    table.load_style(TableStyle::new().header_separator(rule));
    table.set_header(header.iter().map(|name| Cell::new(name).add_attribute(Attribute::Bold)));
    for column in right {
        if let Some(column) = table.column_mut(column) {
            column.set_cell_alignment(CellAlignment::Right);
        }
    }
    table
}

pub(in crate::report) fn blank(style: Style) -> Table {
    let mut table = Table::new();
    table.force_no_tty().set_width(style.width);
    table.set_content_arrangement(ContentArrangement::Dynamic);
    if style.color {
        table.enforce_styling();
    }
    table
}

/// Remarks below a table: on what, and what there is to say.
pub(in crate::report) fn remarks(style: Style, rows: impl IntoIterator<Item = [Cell; 2]>) -> Table {
    let mut table = blank(style);
    table.load_style(presets::NOTHING);
    table.add_rows(rows);
    if let Some(column) = table.column_mut(0) {
        column.set_constraint(ColumnConstraint::UpperBoundary(Width::Percentage(35)));
    }
    table
}

pub(in crate::report) fn lines(table: &Table) -> String {
    table.lines().map(|line| line.trim_end().to_string()).collect::<Vec<_>>().join("\n")
}

/// One line, without what a terminal would obey.
pub(in crate::report) fn clean(text: &str) -> String {
    text.split(|c: char| c.is_control() || c.is_whitespace())
        .filter(|word| !word.is_empty())
        .collect::<Vec<_>>()
        .join(" ")
}
