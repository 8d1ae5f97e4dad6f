package gated

import (
	"bufio"
	"context"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"strconv"
	"strings"

	"golang.org/x/term"

	"github.com/cardea-dev/cardea/proxy/shell"
)

const (
	// maxLine bounds what is typed up to the end of a command, in bytes.
	maxLine = 16 << 10
	// maxReport bounds what the shell says of the end of a line.
	maxReport = 16 << 10
)

var (
	// ErrProtocol is the end of a session whose shell said what no shell says.
	ErrProtocol = errors.New("the shell in the target does not answer as expected")
	// errDied is the end of a shell that was killed by a third interrupt.
	errDied = errors.New("the shell ended")
)

// Process is a shell that was started in the target.
type Process struct {
	Stdin  io.WriteCloser
	Stdout io.Reader
	Stderr io.Reader
	// Ended is closed when it has ended.
	Ended <-chan struct{}
	// Wait returns the exit code when it has ended.
	Wait func() (int, error)
	// Signal sends a signal, INT, HUP or KILL, to the process group.
	Signal func(ctx context.Context, signal string, group int) error
}

// Config is what one gated shell is made of. All of it is needed but Resize and Mask.
type Config struct {
	// Terminal is the client's, in raw mode. What is written to it is for the client to see.
	Terminal io.ReadWriter
	// Resize tells its columns and rows.
	Resize <-chan [2]int
	// Name stands before the prompt.
	Name string
	// Random is where fences come from.
	Random io.Reader
	// Decide decides on one line, which is recorded, and may hold it. Its error is shown to the
	// client, and the line is not run; an error that is a Stop ends the session.
	Decide func(ctx context.Context, line string, facts *shell.Facts) error
	// Done is told the status of a line that ran.
	Done func(status int) error
	// Mask replaces in what commands print what is not to be seen; nil for nothing.
	Mask Mask
	// Process is the shell: sh, reading commands from its standard input.
	Process Process
}

// Mask replaces parts of a text that comes in parts. Write appends to dst what may be shown of p
// and what came before, Flush what is left at the end of a command.
type Mask interface {
	Write(dst, p []byte) []byte
	Flush(dst []byte) []byte
}

// Stop is an error of Decide or Done that ends the session.
type Stop struct{ Err error }

func (s *Stop) Error() string { return s.Err.Error() }

// Unwrap returns the reason.
func (s *Stop) Unwrap() error { return s.Err }

// session is one gated shell at work.
type session struct {
	Config
	keys    *keyboard
	screen  *screen
	editor  *term.Terminal
	control *bufio.Reader
	output  *output
	group   int
	folder  string
	status  int
}

// Run serves a client until it, the shell, or ctx ends, and returns the shell's exit code. After
// the end of ctx the process must end by itself.
func Run(ctx context.Context, c Config) (int, error) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	s := &session{Config: c, keys: newKeyboard(c.Terminal), screen: &screen{w: c.Terminal}, control: bufio.NewReaderSize(c.Process.Stderr, maxReport)}
	s.output = newOutput(c.Process.Stdout, s.screen, c.Mask)
	s.editor = term.NewTerminal(struct {
		io.Reader
		io.Writer
	}{s.keys, s.screen}, "")
	go s.keys.read()
	go s.output.copy()
	go s.follow(ctx)
	defer s.keys.close()
	go func() {
		// Nobody is left waiting at the prompt of a shell that is gone.
		select {
		case <-ctx.Done():
		case <-c.Process.Ended:
		}
		s.keys.close()
	}()
	if err := s.begin(); err != nil {
		return 0, err
	}
	s.say("This is a gated shell: each line is decided on before it runs. Commands have no terminal and no input; Ctrl-C ends one, exit the session.")
	for {
		line, err := s.line()
		if err != nil {
			return s.leave(ctx, err)
		}
		if strings.TrimSpace(line) == "" {
			continue
		}
		if err := s.run(ctx, line); err != nil {
			return s.leave(ctx, err)
		}
	}
}

// leave ends the shell, and returns its exit code where the client or the shell itself ended
// the session.
func (s *session) leave(ctx context.Context, why error) (int, error) {
	if ctx.Err() != nil {
		// As the end of a terminal would. Who cannot be reached is left, as it would be.
		_ = s.Process.Signal(context.WithoutCancel(ctx), "HUP", s.group)
	}
	_ = s.Process.Stdin.Close()
	if !errors.Is(why, io.EOF) && !errors.Is(why, errDied) {
		return 0, why
	}
	return s.Process.Wait()
}

// follow passes the size of the client's terminal on.
func (s *session) follow(ctx context.Context) {
	for {
		select {
		case <-ctx.Done():
			return
		case size, ok := <-s.Resize:
			if !ok {
				return
			}
			if size[0] > 0 && size[1] > 0 {
				_ = s.editor.SetSize(size[0], size[1])
			}
		}
	}
}

// begin prepares the shell: its errors are put beside, its output gets those of commands.
// An interrupt ends a command and not the shell.
func (s *session) begin() error {
	if err := s.tell("exec 3>&2 2>&1; trap : INT; " + report); err != nil {
		return err
	}
	return s.await()
}

// report has the shell say the status of what ran last, its process group, and its folder.
const report = `printf '%s %s %s\0' "$?" "$$" "$PWD" >&3`

func (s *session) tell(text string) error {
	if _, err := io.WriteString(s.Process.Stdin, text+"\n"); err != nil {
		return fmt.Errorf("write to the shell: %w", io.EOF)
	}
	return nil
}

// await reads a report.
func (s *session) await() error {
	text, err := s.control.ReadSlice(0)
	switch {
	case errors.Is(err, io.EOF):
		return errDied
	case err != nil:
		return fmt.Errorf("%w: %w", ErrProtocol, err)
	}
	parts := strings.SplitN(string(text[:len(text)-1]), " ", 3)
	if len(parts) != 3 {
		return ErrProtocol
	}
	status, err := strconv.Atoi(parts[0])
	if err != nil {
		return ErrProtocol
	}
	group, err := strconv.Atoi(parts[1])
	if err != nil || group <= 1 || s.group != 0 && group != s.group {
		return ErrProtocol
	}
	if s.group == 0 {
		s.group = group
	}
	s.status, s.folder = status, parts[2]
	return nil
}

// line reads one command, which may have several lines.
func (s *session) line() (string, error) {
	text, prompt := "", s.prompt()
	for {
		s.editor.SetPrompt(prompt)
		line, err := s.editor.ReadLine()
		if err != nil && !errors.Is(err, term.ErrPasteIndicator) {
			return "", io.EOF
		}
		if s.keys.interrupted() {
			return "", nil
		}
		if len(text)+len(line) > maxLine {
			s.say("the command is too long")
			return "", nil
		}
		text += line
		if !shell.Incomplete(text) {
			return text, nil
		}
		text += "\n"
		prompt = "> "
	}
}

// prompt shows where the session is, and a status that is an error.
func (s *session) prompt() string {
	status := ""
	if s.status != 0 {
		status = "[" + strconv.Itoa(s.status) + "] "
	}
	return printable(s.Name) + ":" + printable(s.folder) + " " + status + "$ "
}

// printable is a text without what a terminal would obey.
func printable(text string) string {
	return strings.Map(func(r rune) rune {
		if r < ' ' || r >= 0x7f && r < 0xa0 || r == '\u2028' || r == '\u2029' || r >= '\u202a' && r <= '\u202e' || r >= '\u2066' && r <= '\u2069' {
			return '?'
		}
		return r
	}, text)
}

// say tells the client something.
func (s *session) say(text string) { _, _ = s.screen.Write([]byte(printable(text) + "\n")) }

// run decides on a line and runs it.
func (s *session) run(ctx context.Context, line string) error {
	facts := shell.Line(line, shell.POSIX)
	if program := fullScreen(facts); program != "" {
		s.say(program + " needs a terminal of its own, by which it could not be known what is done: it is not there in a gated shell")
		s.status = 126
		return nil
	}
	running, cancel := context.WithCancel(ctx)
	defer cancel()
	done := s.keys.during(func(times int) { s.interrupt(ctx, cancel, times) })
	defer done()
	if err := s.Decide(running, line, facts); err != nil {
		if stop := new(Stop); errors.As(err, &stop) {
			return stop.Err
		}
		s.say(err.Error())
		s.status = 126
		return nil
	}
	s.keys.running()
	if err := s.tell(wrap(line, s.status, facts.Stateful)); err != nil {
		return err
	}
	if err := s.await(); err != nil {
		return err
	}
	if err := s.fence(); err != nil {
		return err
	}
	return s.Done(s.status)
}

// wrap is what the shell reads to run a line: without the channel and without input, and
// where it changes nothing of the shell in a child, which an interrupt ends as a
// whole: by a trap, since bash goes on if its own child missed the signal.
func wrap(line string, status int, stateful bool) string {
	quoted := "'" + strings.ReplaceAll(line, "'", `'\''`) + "'"
	before := ""
	if status != 0 {
		before = "(exit " + strconv.Itoa(status) + "); " // for $?
	}
	if stateful {
		return before + "command eval " + quoted + " </dev/null 3>&-; " + report
	}
	return "(trap 'exit 130' INT; " + before + "eval " + quoted + ") </dev/null 3>&-; " + report
}

// interrupt ends what the session is about: the wait for a decision, or a command, which may
// miss one that comes as it starts, or, the third time, the shell.
func (s *session) interrupt(ctx context.Context, cancel context.CancelFunc, times int) {
	cancel()
	if times == 0 {
		return
	}
	signal := "INT"
	if times > 2 {
		signal = "KILL"
	}
	if err := s.Process.Signal(ctx, signal, s.group); err != nil {
		s.say("the command was not interrupted: " + err.Error())
		return
	}
	switch times {
	case 1:
		s.say("^C")
	case 2:
		s.say("^C (again ends the shell)")
	}
}

// fence puts a mark into the output that nobody knew before, and waits until it is seen.
func (s *session) fence() error {
	mark := make([]byte, 24)
	if _, err := io.ReadFull(s.Random, mark); err != nil {
		return fmt.Errorf("read randomness: %w", err)
	}
	text := hex.EncodeToString(mark)
	seen := s.output.until(text)
	if err := s.tell("printf %s " + text); err != nil {
		return err
	}
	if !<-seen {
		return errDied
	}
	return nil
}

// fullScreen returns the program of a command that draws on a terminal; empty for none.
func fullScreen(f *shell.Facts) string {
	for _, c := range f.Commands {
		name := c.Words[0].Text[strings.LastIndexByte(c.Words[0].Text, '/')+1:]
		switch name {
		case "vi", "vim", "nvim", "view", "vimdiff", "nano", "pico", "emacs", "joe", "less", "more", "most", "man", "top", "htop", "btop", "atop", "iotop", "tmux", "screen", "mc", "watch", "dialog", "whiptail":
			return name
		}
	}
	return ""
}
