// Package process runs the real servers of the end-to-end tests as child processes: each in a process group
// of its own, its output in a file, stopped by its id. On Linux the kernel also kills a child when the
// process that started it dies, so a test that panics or runs into its timeout leaves nothing behind.
package process

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"syscall"
	"time"
)

// Spec says what to start.
type Spec struct {
	Name    string // for messages
	Path    string // of the binary
	Args    []string
	Env     []string // added to the environment of this process
	LogFile string   // standard output and error are appended to it
}

// Process is a running child.
type Process struct {
	spec Spec
	cmd  *exec.Cmd
	done chan struct{} // closed when the child is gone
	err  error         // what Wait returned; valid after done
}

// Start starts the child and returns at once.
func Start(spec Spec) (*Process, error) {
	log, err := os.OpenFile(spec.LogFile, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		return nil, err
	}
	defer log.Close() // the child has its own descriptor

	cmd := exec.Command(spec.Path, spec.Args...)
	cmd.Env = append(os.Environ(), spec.Env...)
	cmd.Stdout, cmd.Stderr = log, log
	cmd.SysProcAttr = childAttributes()
	if err := cmd.Start(); err != nil {
		return nil, fmt.Errorf("start %s: %w", spec.Name, err)
	}
	p := &Process{spec: spec, cmd: cmd, done: make(chan struct{})}
	go func() {
		p.err = cmd.Wait()
		close(p.done)
	}()
	return p, nil
}

// Done is closed when the child is gone.
func (p *Process) Done() <-chan struct{} { return p.done }

// Signal sends a signal to the child alone.
func (p *Process) Signal(sig os.Signal) error { return p.cmd.Process.Signal(sig) }

// Kill ends the child and whatever it started, at once, and waits until it is gone.
func (p *Process) Kill() {
	_ = syscall.Kill(-p.cmd.Process.Pid, syscall.SIGKILL)
	<-p.done
}

// Stop asks the child to end, and kills it when it has not after grace. It returns the child's exit code;
// -1 means that a signal ended it.
func (p *Process) Stop(grace time.Duration) int {
	_ = p.Signal(syscall.SIGTERM)
	timeout := time.NewTimer(grace)
	defer timeout.Stop()
	select {
	case <-p.done:
	case <-timeout.C:
		p.Kill()
	}
	return p.cmd.ProcessState.ExitCode()
}

// Log returns what the child has written so far.
func (p *Process) Log() string {
	b, err := os.ReadFile(p.spec.LogFile)
	if err != nil {
		return err.Error()
	}
	return string(b)
}

// WaitReady calls check until it returns nil, the child ends or ctx does. The error then carries check's last
// complaint and the end of the child's log.
func (p *Process) WaitReady(ctx context.Context, check func(context.Context) error) error {
	tick := time.NewTicker(100 * time.Millisecond)
	defer tick.Stop()
	for {
		err := check(ctx)
		if err == nil {
			return nil
		}
		select {
		case <-tick.C:
		case <-p.done:
			return fmt.Errorf("%s ended (%v) before it was ready:\n%s", p.spec.Name, p.err, p.logTail())
		case <-ctx.Done():
			return fmt.Errorf("wait for %s: %w:\n%s", p.spec.Name, errors.Join(ctx.Err(), err), p.logTail())
		}
	}
}

// logTail returns the last 4 KiB of the log.
func (p *Process) logTail() []byte {
	b, _ := os.ReadFile(p.spec.LogFile)
	if len(b) > 4096 {
		b = b[len(b)-4096:]
	}
	return bytes.TrimSpace(b)
}

// FreePorts returns n TCP ports of 127.0.0.1 that nobody listens on. They are free, not reserved: start what
// needs them at once.
func FreePorts(n int) ([]int, error) {
	ports := make([]int, n)
	for i := range ports {
		l, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			return nil, err
		}
		defer l.Close() // all of them stay open until every port is known, else one could come twice
		ports[i] = l.Addr().(*net.TCPAddr).Port
	}
	return ports, nil
}

// Pid is the child's process id.
func (p *Process) Pid() int { return p.cmd.Process.Pid }
