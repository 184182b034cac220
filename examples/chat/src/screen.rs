//! Drawing: what is seen follows from a [`View`] and the terminal's size, and from nothing else.

use jiff::civil::Date;
use jiff::tz::TimeZone;
use jiff::{Timestamp, Zoned};
use ratatui::Frame;
use ratatui::layout::{Alignment, Constraint, Layout, Position, Rect};
use ratatui::style::{Color, Modifier, Style};
use ratatui::text::{Line, Span};
use ratatui::widgets::{Block, Borders, Paragraph};

use crate::input::Input;
use crate::room::{Member, Message};
use crate::text::{clip, columns, plain, wrap};
use eidetica::store::RowId;

/// From this width on there is a list of members beside the messages.
const LIST_FROM_COLUMNS: u16 = 64;
const LIST_COLUMNS: u16 = 20;
/// From this width on, the time and the name stand before the text, below it above.
const BESIDE_FROM_COLUMNS: usize = 40;
const NAME_COLUMNS_MAX: usize = 12;
/// Characters of a message that are shown at most.
const TEXT_CHARS_MAX: usize = 4_096;
const COLOURS: [Color; 6] =
    [Color::Cyan, Color::Yellow, Color::Green, Color::Magenta, Color::LightBlue, Color::LightRed];
const DIM: Style = Style::new().add_modifier(Modifier::DIM);

/// What there is to see.
pub(crate) struct View<'a> {
    pub(crate) room: &'a str,
    pub(crate) me: RowId,
    /// Oldest first.
    pub(crate) messages: &'a [&'a Message],
    pub(crate) members: &'a [Member],
    /// How many nodes there are links to.
    pub(crate) links: usize,
    pub(crate) input: &'a Input,
    /// The topmost line to show; the newest lines if there is none.
    pub(crate) top: Option<usize>,
    pub(crate) notice: Option<&'a str>,
    /// Shown over the messages.
    pub(crate) ticket: Option<&'a str>,
    pub(crate) zone: &'a TimeZone,
}

/// What was drawn: scrolling goes on from there.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Drawn {
    /// Lines that there are of messages.
    pub(crate) lines: usize,
    /// Lines that are shown at a time.
    pub(crate) height: usize,
    /// The topmost line shown.
    pub(crate) top: usize,
}

/// Draws everything.
pub(crate) fn draw(frame: &mut Frame<'_>, view: &View<'_>) -> Drawn {
    let area = frame.area();
    let if_high = |rows: u16| Constraint::Length(u16::from(area.height >= rows));
    let [title, middle, rule, input, status] =
        Layout::vertical([if_high(4), Constraint::Fill(1), if_high(5), Constraint::Length(1), if_high(7)])
            .areas(area);
    let list = if area.width >= LIST_FROM_COLUMNS { LIST_COLUMNS } else { 0 };
    let [messages, list] = Layout::horizontal([Constraint::Fill(1), Constraint::Length(list)])
        .spacing(u16::from(list > 0))
        .areas(middle);

    draw_title(frame, title, view);
    let drawn = draw_messages(frame, messages, view);
    draw_members(frame, list, view);
    draw_rule(frame, rule, drawn);
    draw_input(frame, input, view);
    draw_status(frame, status, view);
    if let Some(ticket) = view.ticket {
        draw_ticket(frame, middle, ticket);
    }
    drawn
}

/// One row with something at either end; what doesn't fit is taken from the left one.
fn draw_ends(frame: &mut Frame<'_>, area: Rect, left: &str, right: &str, style: Style) {
    let width = usize::from(area.width);
    let right = clip(right, width);
    let left = clip(left, width.saturating_sub(columns(&right) + 1));
    frame.render_widget(Paragraph::new(left).style(style), area);
    let [_, end] =
        Layout::horizontal([Constraint::Fill(1), Constraint::Length(columns(&right) as u16)]).areas(area);
    frame.render_widget(Paragraph::new(right).style(style), end);
}

fn draw_title(frame: &mut Frame<'_>, area: Rect, view: &View<'_>) {
    let here = view.members.iter().filter(|member| member.here).count();
    let style = Style::new().add_modifier(Modifier::REVERSED);
    draw_ends(frame, area, &format!(" {}", plain(view.room)), &format!("{here} here "), style);
}

fn draw_messages(frame: &mut Frame<'_>, area: Rect, view: &View<'_>) -> Drawn {
    let (lines, height) = (message_lines(view, usize::from(area.width)), usize::from(area.height));
    let bottom = lines.len().saturating_sub(height);
    let drawn = Drawn { lines: lines.len(), height, top: view.top.map_or(bottom, |top| top.min(bottom)) };
    let shown: Vec<Line<'_>> = lines.into_iter().skip(drawn.top).take(height).collect();
    frame.render_widget(Paragraph::new(shown), area);
    drawn
}

fn message_lines(view: &View<'_>, width: usize) -> Vec<Line<'static>> {
    let mut lines = Vec::new();
    let mut day = None;
    let names = view.messages.iter().map(|message| columns(&plain(&message.name))).max().unwrap_or(0);
    let names = names.min(NAME_COLUMNS_MAX);
    for message in view.messages {
        let time = local(message, view.zone);
        let date = time.as_ref().map(Zoned::date);
        if date != day {
            lines.extend(time.as_ref().map(|time| day_line(time, width)));
            day = date;
        }
        push_message(&mut lines, view, message, time, (width, names));
    }
    lines
}

fn local(message: &Message, zone: &TimeZone) -> Option<Zoned> {
    let time = Timestamp::from_millisecond(i64::try_from(message.at).ok()?).ok()?;
    Some(time.to_zoned(zone.clone()))
}

fn day_line(time: &Zoned, width: usize) -> Line<'static> {
    let date: Date = time.date();
    Line::from(Span::styled(clip(&date.strftime("%a %-d %B %Y").to_string(), width), DIM))
        .alignment(Alignment::Center)
}

fn push_message(
    lines: &mut Vec<Line<'static>>,
    view: &View<'_>,
    message: &Message,
    time: Option<Zoned>,
    (width, names): (usize, usize),
) {
    let clock = time.map_or("--:--".to_owned(), |time| time.strftime("%H:%M").to_string());
    let colour = COLOURS[usize::from(message.by.as_bytes()[0]) % COLOURS.len()];
    let own = if message.by == view.me { Modifier::BOLD } else { Modifier::empty() };
    let style = Style::new().fg(colour).add_modifier(own);
    let shown = plain(&message.text.chars().take(TEXT_CHARS_MAX).collect::<String>());
    let name = plain(&message.name).replace('\n', " ");
    if width < BESIDE_FROM_COLUMNS {
        let name = clip(&name, width.saturating_sub(columns(&clock) + 1));
        lines.push(Line::from(vec![Span::styled(name, style), Span::styled(format!(" {clock}"), DIM)]));
        lines.extend(wrap(&shown, width).into_iter().map(Line::from));
        return;
    }
    let name = clip(&name, names);
    let before = columns(&clock) + 1 + names + 1;
    let padding = " ".repeat(names - columns(&name) + 1);
    for (at, text) in wrap(&shown, width.saturating_sub(before)).into_iter().enumerate() {
        lines.push(Line::from(match at {
            0 => vec![
                Span::styled(format!("{clock} "), DIM),
                Span::styled(name.clone(), style),
                Span::raw(format!("{padding}{text}")),
            ],
            _ => vec![Span::raw(format!("{}{text}", " ".repeat(before)))],
        }));
    }
}

fn draw_members(frame: &mut Frame<'_>, area: Rect, view: &View<'_>) {
    let width = usize::from(area.width).saturating_sub(4);
    let line = |member: &Member| {
        let you = if member.id == view.me { " (you)" } else { "" };
        let name = clip(&plain(&member.name).replace('\n', " "), width.saturating_sub(you.len()));
        let (dot, style) = match member.here {
            true => (Span::styled(" ● ", Style::new().fg(Color::Green)), Style::new()),
            false => (Span::styled(" ○ ", DIM), DIM),
        };
        Line::from(vec![dot, Span::styled(format!("{name}{you}"), style)])
    };
    let rows = usize::from(area.height);
    let mut lines: Vec<Line<'_>> = view.members.iter().map(line).collect();
    if lines.len() > rows {
        let hidden = lines.len() + 1 - rows.max(1);
        lines.truncate(rows.saturating_sub(1));
        lines.push(Line::styled(format!(" + {hidden} more"), DIM));
    }
    frame.render_widget(Paragraph::new(lines).block(Block::new().borders(Borders::LEFT)), area);
}

fn draw_rule(frame: &mut Frame<'_>, area: Rect, drawn: Drawn) {
    let width = usize::from(area.width);
    let more = drawn.lines.saturating_sub(drawn.top + drawn.height);
    let label =
        if more > 0 { format!("── ↓ {more} more, Esc shows the newest ") } else { String::new() };
    let label = clip(&label, width);
    let rule = "─".repeat(width.saturating_sub(columns(&label)));
    frame.render_widget(Paragraph::new(format!("{label}{rule}")).style(DIM), area);
}

fn draw_input(frame: &mut Frame<'_>, area: Rect, view: &View<'_>) {
    let [prompt, field] = Layout::horizontal([Constraint::Length(2), Constraint::Fill(1)]).areas(area);
    frame.render_widget(Paragraph::new("› "), prompt);
    let (text, cursor) = view.input.visible(usize::from(field.width));
    frame.render_widget(Paragraph::new(text), field);
    if area.height > 0 && area.width > 2 {
        frame.set_cursor_position(Position::new(field.x + cursor as u16, field.y));
    }
}

fn draw_status(frame: &mut Frame<'_>, area: Rect, view: &View<'_>) {
    let links = match view.links {
        0 => "no link".to_owned(),
        links => format!("{links} linked"),
    };
    match view.notice {
        Some(notice) => {
            let notice = plain(notice).replace('\n', " ");
            draw_ends(frame, area, &notice, "", Style::new().fg(Color::Yellow));
        }
        None if area.width < 40 => draw_ends(frame, area, "/ticket  /quit", &links, DIM),
        None => draw_ends(frame, area, "/ticket  /quit  PgUp  PgDn", &links, DIM),
    }
}

fn draw_ticket(frame: &mut Frame<'_>, area: Rect, ticket: &str) {
    let block = Block::bordered().title(" Ticket ");
    let width = usize::from(block.inner(area).width);
    let mut lines: Vec<Line<'_>> = wrap(ticket, width).into_iter().map(Line::from).collect();
    lines.push(Line::default());
    let note = "Whoever has it may join: chat --name NAME join 'TICKET'. Where the terminal allows it, it is in the clipboard \
                now. Esc closes this.";
    lines.extend(wrap(note, width).into_iter().map(|line| Line::styled(line, DIM)));
    frame.render_widget(ratatui::widgets::Clear, area);
    frame.render_widget(Paragraph::new(lines).block(block), area);
}

#[cfg(test)]
mod tests {
    use ratatui::Terminal;
    use ratatui::backend::TestBackend;
    use ratatui::buffer::Buffer;

    use super::*;

    const ALICE: RowId = RowId::from_bytes([1; 16]);
    const BOB: RowId = RowId::from_bytes([2; 16]);
    /// 28 November 2026, 12:03 UTC.
    const NOON: u64 = 1_795_867_380_000;

    struct Scene {
        messages: Vec<Message>,
        members: Vec<Member>,
        input: Input,
        top: Option<usize>,
        notice: Option<&'static str>,
        ticket: Option<&'static str>,
    }

    fn scene(said: &[(RowId, &str, u64, &str)]) -> Scene {
        let message = |(by, name, at, text): &(RowId, &str, u64, &str)| Message {
            by: *by,
            name: (*name).to_owned(),
            text: (*text).to_owned(),
            at: *at,
        };
        let members = vec![
            Member { id: ALICE, name: "alice".to_owned(), here: true },
            Member { id: BOB, name: "bob".to_owned(), here: false },
        ];
        let messages = said.iter().map(message).collect();
        Scene { messages, members, input: Input::default(), top: None, notice: None, ticket: None }
    }

    fn chat() -> Scene {
        scene(&[
            (ALICE, "alice", NOON, "hello"),
            (BOB, "bob", NOON + 60_000, "hello to you too, and welcome to this place of ours"),
            (ALICE, "alice", NOON + 86_400_000, "日本語 works"),
        ])
    }

    /// The rows as they are seen, without what is empty at their ends.
    fn rows(buffer: &Buffer) -> Vec<String> {
        let row = |y: u16| {
            let (mut row, mut x) = (String::new(), 0);
            while x < buffer.area.width {
                let symbol = buffer[(x, y)].symbol();
                row.push_str(symbol);
                x += (columns(symbol) as u16).max(1);
            }
            row.trim_end().to_owned()
        };
        (0..buffer.area.height).map(row).collect()
    }

    fn draw_at(scene: &Scene, width: u16, height: u16) -> (Vec<String>, Drawn, Position) {
        let messages: Vec<&Message> = scene.messages.iter().collect();
        let view = View {
            room: "den",
            me: ALICE,
            messages: &messages,
            members: &scene.members,
            links: 1,
            input: &scene.input,
            top: scene.top,
            notice: scene.notice,
            ticket: scene.ticket,
            zone: &TimeZone::UTC,
        };
        let mut terminal = Terminal::new(TestBackend::new(width, height)).unwrap();
        let mut drawn = Drawn::default();
        terminal.draw(|frame| drawn = draw(frame, &view)).unwrap();
        let cursor = terminal.backend().cursor_position();
        (rows(terminal.backend().buffer()), drawn, cursor)
    }

    #[test]
    fn a_wide_terminal_shows_messages_beside_members() {
        let mut scene = chat();
        scene.input.insert("what I am typing");
        let (rows, drawn, cursor) = draw_at(&scene, 64, 11);
        assert_eq!(
            rows,
            [
                " den                                                     1 here",
                "           Sat 28 November 2026             │ ● alice (you)",
                "12:03 alice hello                           │ ○ bob",
                "12:04 bob   hello to you too, and welcome   │",
                "            to this place of ours           │",
                "           Sun 29 November 2026             │",
                "12:03 alice 日本語 works                    │",
                "                                            │",
                "────────────────────────────────────────────────────────────────",
                "› what I am typing",
                "/ticket  /quit  PgUp  PgDn                              1 linked",
            ]
        );
        assert_eq!(drawn, Drawn { lines: 6, height: 7, top: 0 });
        assert_eq!(cursor, Position::new(18, 9));
    }

    #[test]
    fn a_narrow_terminal_shows_names_above_messages() {
        let (rows, ..) = draw_at(&chat(), 24, 11);
        assert_eq!(
            rows,
            [
                " den             1 here",
                "bob 12:04",
                "hello to you too, and",
                "welcome to this place of",
                "ours",
                "  Sun 29 November 2026",
                "alice 12:03",
                "日本語 works",
                "────────────────────────",
                "›",
                "/ticket  /quit  1 linked",
            ]
        );
    }

    #[test]
    fn the_newest_messages_are_shown_unless_scrolled() {
        let said: Vec<_> = (0..20).map(|n| (BOB, "bob", NOON + n, "x")).collect();
        let mut scene = scene(&said);
        let (_, drawn, _) = draw_at(&scene, 50, 9);
        assert_eq!(drawn, Drawn { lines: 21, height: 5, top: 16 });
        scene.top = Some(3);
        let (rows, drawn, _) = draw_at(&scene, 50, 9);
        assert_eq!(drawn.top, 3);
        assert_eq!(rows[6], "── ↓ 13 more, Esc shows the newest ───────────────");
        scene.top = Some(1_000);
        assert_eq!(draw_at(&scene, 50, 9).1.top, 16);
    }

    #[test]
    fn long_names_are_cut_and_what_they_hide_of_the_terminal_is_not_sent() {
        let scene = scene(&[(BOB, "a name as long as a\u{1b}[2J river", NOON, "one\ttwo\u{1b}[31m")]);
        let (rows, ..) = draw_at(&scene, 50, 9);
        assert_eq!(rows[2], "12:03 a name as l… one two [31m");
        let (rows, ..) = draw_at(&scene, 18, 9);
        assert_eq!(rows[2], "a name as l… 12:03");
    }

    #[test]
    fn a_notice_and_a_ticket_cover_what_is_less_urgent() {
        let mut scene = chat();
        scene.notice = Some("there is no /nope");
        scene.ticket = Some("eidetica:?db=0123456789&peer=0123456789");
        let (rows, ..) = draw_at(&scene, 30, 14);
        assert_eq!(rows[1], "┌ Ticket ────────────────────┐");
        assert_eq!(rows[2], "│eidetica:?db=0123456789&peer│");
        assert_eq!(rows[3], "│=0123456789                 │");
        assert_eq!(rows[13], "there is no /nope");
    }

    #[test]
    fn more_members_than_rows_are_counted() {
        let mut scene = chat();
        let member = |n: u8| Member { id: RowId::from_bytes([n; 16]), name: format!("m{n}"), here: true };
        scene.members = (10..30).map(member).collect();
        let (rows, ..) = draw_at(&scene, 64, 8);
        assert!(rows[1].ends_with("│ ● m10") && rows[4].ends_with("│ + 17 more"), "{rows:#?}");
    }

    #[test]
    fn no_size_is_too_small() {
        let mut scene = chat();
        scene.input.insert("日本語");
        scene.ticket = Some("eidetica:?db=0123456789");
        for width in 1..70 {
            for height in 1..12 {
                draw_at(&scene, width, height);
            }
        }
    }
}
