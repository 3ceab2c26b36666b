// Package process runs the real servers of the end-to-end tests as child processes. Each child has its own process
// group and writes its output to a file. On Linux the kernel also kills a child when the process that started it dies,
// so a test that panics or times out leaves no processes behind. To run its tests:
//
//	cd e2e && go test ./process
package process

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"os"
	"os/exec"
	"syscall"
	"time"
)

// Spec describes the child to start.
type Spec struct {
	Name    string // name in messages
	Path    string // path of the binary
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

// Kill kills the child's process group and waits until the child is gone.
func (p *Process) Kill() {
	_ = syscall.Kill(-p.cmd.Process.Pid, syscall.SIGKILL)
	<-p.done
}

// Stop sends SIGTERM to the child, and kills it if it still runs after grace. It returns the exit code, or -1 if a
// signal ended the child.
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

// Log returns the child's output so far.
func (p *Process) Log() string {
	b, err := os.ReadFile(p.spec.LogFile)
	if err != nil {
		return err.Error()
	}
	return string(b)
}

// WaitReady calls check until it returns nil. If the child exits or ctx ends first, it returns an error with check's
// last error and the end of the child's log.
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
			return fmt.Errorf("%s exited (%v) before it was ready:\n%s", p.spec.Name, p.err, p.logTail())
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

// The ports that FreePorts returns. They are below those of outgoing connections (from 32768 on, on Linux), or a
// connection could take a port before the child does.
const firstPort, lastPort = 20_000, 29_999

// FreePorts returns n free TCP ports of 127.0.0.1. They are not reserved, so use them at once.
func FreePorts(n int) ([]int, error) {
	ports := make([]int, n)
	for i := range ports {
		l, err := listenBelow()
		if err != nil {
			return nil, err
		}
		defer l.Close() // all stay open until every port is known, so that no port is returned twice
		ports[i] = l.Addr().(*net.TCPAddr).Port
	}
	return ports, nil
}

// listenBelow listens on a random port from firstPort to lastPort, or on any port if it finds none.
func listenBelow() (net.Listener, error) {
	for range 50 {
		port := firstPort + rand.IntN(lastPort-firstPort+1) //nolint:gosec // separates tests, no secret
		if l, err := net.Listen("tcp", fmt.Sprintf("127.0.0.1:%d", port)); err == nil {
			return l, nil
		}
	}
	return net.Listen("tcp", "127.0.0.1:0")
}

// Pid returns the child's process id.
func (p *Process) Pid() int { return p.cmd.Process.Pid }
