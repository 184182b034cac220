//! The program while it runs: keys, changes of the room and the clock come in, the screen is drawn again.

use std::io::{Write, stdout};
use std::time::Duration;

use data_encoding::BASE64;
use jiff::tz::TimeZone;
use ratatui::crossterm::event::{
    self, DisableBracketedPaste, EnableBracketedPaste, Event, KeyCode, KeyEvent, KeyEventKind, KeyModifiers,
};
use ratatui::crossterm::execute;
use ratatui::{DefaultTerminal, Frame};
use tokio::sync::mpsc;
use tokio::time::{MissedTickBehavior, interval};

use crate::Failure;
use crate::input::Input;
use crate::room::{Member, Message, Room, now};
use crate::screen::{self, Drawn, View};

/// Messages that are shown at most, the newest ones.
const MESSAGES_MAX: usize = 1_000;
const TICK: Duration = Duration::from_secs(1);

/// Whether it goes on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Flow {
    GoOn,
    Quit,
}

/// A room and what is done with it.
pub(crate) struct App {
    room: Room,
    name: String,
    members: Vec<Member>,
    links: usize,
    input: Input,
    top: Option<usize>,
    drawn: Drawn,
    notice: Option<String>,
    ticket: Option<String>,
    /// For the clipboard.
    to_copy: Option<String>,
    zone: TimeZone,
}

impl App {
    /// Opens the screen on a room; `ticket` is shown at first.
    pub(crate) fn new(room: Room, ticket: Option<String>, zone: TimeZone) -> eidetica::Result<Self> {
        let mut app = Self {
            name: room.name()?,
            room,
            members: Vec::new(),
            links: 0,
            input: Input::default(),
            top: None,
            drawn: Drawn::default(),
            notice: None,
            to_copy: ticket.clone(),
            ticket,
            zone,
        };
        app.look()?;
        Ok(app)
    }

    /// Runs in the terminal until the user quits, and leaves the terminal as it was.
    pub(crate) async fn run(mut self) -> Result<(), Failure> {
        let mut terminal = ratatui::try_init()?;
        let lived = self.live(&mut terminal).await;
        execute!(stdout(), DisableBracketedPaste)?;
        ratatui::try_restore()?;
        lived?;
        Ok(self.room.close()?)
    }

    async fn live(&mut self, terminal: &mut DefaultTerminal) -> Result<(), Failure> {
        execute!(stdout(), EnableBracketedPaste)?;
        let mut events = terminal_events();
        let mut ticks = interval(TICK);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            terminal.draw(|frame| self.draw(frame))?;
            if let Some(text) = self.to_copy.take() {
                copy(&text)?;
            }
            tokio::select! {
                event = events.recv() => match event {
                    Some(event) => if self.on_event(event?).await == Flow::Quit { return Ok(()) },
                    None => return Ok(()),
                },
                changed = self.room.changed() => if !changed? { return Ok(()) },
                _ = ticks.tick() => self.beat().await,
            }
            self.look()?;
        }
    }

    /// Draws the room as it is known.
    pub(crate) fn draw(&mut self, frame: &mut Frame<'_>) {
        let all = self.room.messages();
        let hidden = all.len().saturating_sub(MESSAGES_MAX);
        let messages: Vec<&Message> = all.skip(hidden).collect();
        let view = View {
            room: &self.name,
            me: self.room.me(),
            messages: &messages,
            members: &self.members,
            links: self.links,
            input: &self.input,
            top: self.top,
            notice: self.notice.as_deref(),
            ticket: self.ticket.as_deref(),
            zone: &self.zone,
        };
        self.drawn = screen::draw(frame, &view);
    }

    fn look(&mut self) -> eidetica::Result<()> {
        self.members = self.room.members(now());
        self.links = self.room.links()?;
        Ok(())
    }

    async fn beat(&mut self) {
        if let Err(error) = self.room.beat(now()).await {
            self.notice = Some(error.to_string());
        }
    }

    /// Takes in what the terminal told.
    pub(crate) async fn on_event(&mut self, event: Event) -> Flow {
        match event {
            Event::Key(key) if key.kind != KeyEventKind::Release => {
                self.notice = None;
                self.on_key(key).await
            }
            Event::Paste(text) => {
                self.input.insert(&text.replace("\r\n", "\n").replace('\r', "\n"));
                Flow::GoOn
            }
            _ => Flow::GoOn,
        }
    }

    async fn on_key(&mut self, key: KeyEvent) -> Flow {
        let page = self.drawn.height.saturating_sub(1).max(1);
        if key.modifiers.contains(KeyModifiers::CONTROL) {
            match key.code {
                KeyCode::Char('c') => return Flow::Quit,
                KeyCode::Char('d') if self.input.is_empty() => return Flow::Quit,
                KeyCode::Char('a') => self.input.home(),
                KeyCode::Char('e') => self.input.end(),
                KeyCode::Char('u') => drop(self.input.take()),
                KeyCode::Char('w') => self.input.delete_word(),
                _ => {}
            }
            return Flow::GoOn;
        }
        match key.code {
            KeyCode::Enter => return self.submit().await,
            KeyCode::F(2) => self.show_ticket(),
            KeyCode::Esc if self.ticket.take().is_none() => self.top = None,
            KeyCode::Char(c) => self.input.insert(c.encode_utf8(&mut [0; 4])),
            KeyCode::Backspace => self.input.backspace(),
            KeyCode::Delete => self.input.delete(),
            KeyCode::Left => self.input.left(),
            KeyCode::Right => self.input.right(),
            KeyCode::Home => self.input.home(),
            KeyCode::End => self.input.end(),
            KeyCode::PageUp => self.scroll_up(page),
            KeyCode::PageDown => self.scroll_down(page),
            KeyCode::Up => self.scroll_up(1),
            KeyCode::Down => self.scroll_down(1),
            _ => {}
        }
        Flow::GoOn
    }

    fn scroll_up(&mut self, lines: usize) {
        self.top = Some(self.drawn.top.saturating_sub(lines));
    }

    fn scroll_down(&mut self, lines: usize) {
        let top = self.drawn.top + lines;
        self.top = (top + self.drawn.height < self.drawn.lines).then_some(top);
    }

    async fn submit(&mut self) -> Flow {
        self.ticket = None;
        let typed = self.input.take();
        match typed.trim() {
            "" => {}
            "/quit" => return Flow::Quit,
            "/ticket" => self.show_ticket(),
            command if command.starts_with('/') && !command.contains(char::is_whitespace) => {
                self.notice = Some(format!("there is no {command}: /ticket and /quit are the commands"));
            }
            text => {
                self.top = None;
                if let Err(error) = self.room.post(text, now()).await {
                    // What was typed isn't lost.
                    self.input.insert(&typed);
                    self.notice = Some(error.to_string());
                }
            }
        }
        Flow::GoOn
    }

    fn show_ticket(&mut self) {
        match self.room.ticket() {
            Ok(ticket) => {
                self.ticket = Some(ticket.to_string());
                self.to_copy = self.ticket.clone();
            }
            Err(error) => self.notice = Some(error.to_string()),
        }
    }
}

/// Asks the terminal to put a text into the clipboard (OSC 52); many do, the others ignore it.
fn copy(text: &str) -> std::io::Result<()> {
    let mut out = stdout().lock();
    write!(out, "\x1b]52;c;{}\x07", BASE64.encode(text.as_bytes()))?;
    out.flush()
}

/// What the terminal tells, read on a thread of its own: reading blocks.
fn terminal_events() -> mpsc::Receiver<std::io::Result<Event>> {
    let (sender, events) = mpsc::channel(64);
    std::thread::spawn(move || {
        loop {
            let event = event::read();
            let failed = event.is_err();
            if sender.blocking_send(event).is_err() || failed {
                return;
            }
        }
    });
    events
}

#[cfg(test)]
mod tests {
    use ratatui::Terminal;
    use ratatui::backend::TestBackend;

    use super::*;
    use crate::room::Home;

    fn app() -> App {
        let room = Home::open(None, "alice").unwrap().create("den").unwrap();
        App::new(room, None, TimeZone::UTC).unwrap()
    }

    fn draw(app: &mut App) -> String {
        let mut terminal = Terminal::new(TestBackend::new(60, 10)).unwrap();
        terminal.draw(|frame| app.draw(frame)).unwrap();
        terminal.backend().to_string()
    }

    async fn press(app: &mut App, code: KeyCode) -> Flow {
        app.on_event(Event::Key(KeyEvent::from(code))).await
    }

    async fn enter(app: &mut App, text: &str) -> Flow {
        for c in text.chars() {
            press(app, KeyCode::Char(c)).await;
        }
        press(app, KeyCode::Enter).await
    }

    #[tokio::test]
    async fn what_is_typed_is_said() {
        let mut app = app();
        assert_eq!(enter(&mut app, "hello, wörld").await, Flow::GoOn);
        assert!(app.room.changed().await.unwrap());
        let screen = draw(&mut app);
        assert!(screen.contains("alice hello, wörld"), "{screen}");
        assert!(app.input.is_empty());
    }

    #[tokio::test]
    async fn commands_are_not_said() {
        let mut app = app();
        assert_eq!(enter(&mut app, "/nope").await, Flow::GoOn);
        assert!(draw(&mut app).contains("there is no /nope"));
        assert_eq!(enter(&mut app, "/ticket").await, Flow::GoOn);
        assert!(draw(&mut app).contains("eidetica:?db="));
        press(&mut app, KeyCode::Esc).await;
        assert!(!draw(&mut app).contains("eidetica:?db="));
        assert_eq!(enter(&mut app, "/quit").await, Flow::Quit);
        assert_eq!(app.room.messages().len(), 0);
    }

    #[tokio::test]
    async fn scrolling_stays_where_it_is_while_messages_come() {
        let mut app = app();
        for n in 0..30 {
            app.room.post(&format!("message {n}"), now()).await.unwrap();
            assert!(app.room.changed().await.unwrap());
        }
        draw(&mut app);
        press(&mut app, KeyCode::PageUp).await;
        let before = draw(&mut app);
        assert!(before.contains("message 23") && !before.contains("message 29"), "{before}");
        app.room.post("one more", now()).await.unwrap();
        assert!(app.room.changed().await.unwrap());
        let after = draw(&mut app);
        assert!(after.contains("message 23") && !after.contains("one more"), "{after}");
        press(&mut app, KeyCode::PageDown).await;
        draw(&mut app);
        press(&mut app, KeyCode::PageDown).await;
        assert!(draw(&mut app).contains("one more"));
        assert_eq!(app.top, None);
    }
}
