package runner

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"time"
)

// stopTimeout is how long a process may take to end after SIGTERM.
const stopTimeout = 20 * time.Second

// process is a child that the runner started and will stop, by its pid only.
type process struct {
	name  string
	cmd   *exec.Cmd
	begun time.Time
	log   string        // path of its output
	done  chan struct{} // closed when it has ended
	err   error         // valid after done
	hold  io.Closer     // its standard input: our own children end when it closes
	// counts is not safe for concurrent use.
	counts *counter
}

// child says how to run a process.
type child struct {
	name    string
	log     string // where its output goes
	dir     string // where it runs; empty: here
	program string
	args    []string
	env     []string // beside ours
}

func start(c child) (*process, error) {
	program, err := filepath.Abs(c.program) // it may run elsewhere
	if err != nil {
		return nil, err
	}
	out, err := os.Create(c.log)
	if err != nil {
		return nil, err
	}
	defer func() { _ = out.Close() }() // the child has its own descriptor
	cmd := exec.Command(program, c.args...)
	cmd.Stderr, cmd.Stdout = out, out
	cmd.Dir, cmd.Env = c.dir, append(plainEnviron(), c.env...)
	stdin, err := cmd.StdinPipe()
	if err != nil {
		return nil, err
	}
	begun := time.Now()
	if err := cmd.Start(); err != nil {
		return nil, fmt.Errorf("start %s: %w", c.name, err)
	}
	p := &process{name: c.name, cmd: cmd, begun: begun, log: c.log, done: make(chan struct{}), hold: stdin,
		counts: newCounter(cmd.Process.Pid)}
	go func() {
		p.err = cmd.Wait()
		close(p.done)
	}()
	return p, nil
}

// plainEnviron returns our environment without variables that tune Go programs, so that agents run with their
// default settings.
func plainEnviron() []string {
	return slices.DeleteFunc(os.Environ(), func(v string) bool {
		key, _, _ := strings.Cut(v, "=")
		return slices.Contains([]string{"GOGC", "GOMEMLIMIT", "GOMAXPROCS", "GODEBUG"}, key)
	})
}

func (p *process) pid() int { return p.cmd.Process.Pid }

// ended is an error that tells how the process ended, with the end of its log.
func (p *process) ended() error {
	return fmt.Errorf("%s ended by itself (%v); its log ends with:\n%s", p.name, p.err, tail(p.log))
}

// stop asks the process to end, and kills it if it does not. It returns how long that took.
func (p *process) stop() (time.Duration, error) {
	begun := time.Now()
	select {
	case <-p.done:
		return 0, p.ended()
	default:
	}
	err := p.cmd.Process.Signal(syscall.SIGTERM)
	select {
	case <-p.done:
		_ = p.hold.Close() // Wait has closed it already
		return time.Since(begun), p.err
	case <-time.After(stopTimeout):
		err = errors.Join(err, p.cmd.Process.Kill(),
			fmt.Errorf("%s did not end within %v of SIGTERM", p.name, stopTimeout))
		<-p.done
		return time.Since(begun), err
	}
}

// announced waits for the line `<prefix> <value>` in the process's output.
func (p *process) announced(ctx context.Context, prefix string) (string, error) {
	for {
		if v, ok := findLine(p.log, prefix); ok {
			return v, nil
		}
		select {
		case <-p.done:
			return "", p.ended()
		case <-ctx.Done():
			return "", fmt.Errorf("%s never said %q: %w", p.name, prefix, ctx.Err())
		case <-time.After(50 * time.Millisecond):
		}
	}
}

func findLine(path, prefix string) (string, bool) {
	f, err := os.Open(path)
	if err != nil {
		return "", false
	}
	defer func() { _ = f.Close() }() // read only
	for s := bufio.NewScanner(f); s.Scan(); {
		if v, ok := strings.CutPrefix(s.Text(), prefix+" "); ok {
			return v, true
		}
	}
	return "", false
}

// tail is the end of a log, for error messages.
func tail(path string) string {
	b, err := os.ReadFile(path)
	if err != nil {
		return err.Error()
	}
	const most = 2000
	if len(b) > most {
		b = b[len(b)-most:]
	}
	return string(b)
}
