package process

import (
	"context"
	"errors"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"
)

func start(t *testing.T, script string) *Process {
	t.Helper()
	p, err := Start(Spec{Name: "child", Path: "/bin/sh", Args: []string{"-c", script},
		LogFile: filepath.Join(t.TempDir(), "log")})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(p.Kill)
	return p
}

func TestStopReportsTheExitCode(t *testing.T) {
	p := start(t, `trap 'exit 7' TERM; echo ready; while :; do sleep 0.05; done`)
	err := p.WaitReady(t.Context(), func(context.Context) error {
		if !strings.Contains(p.Log(), "ready") {
			return errors.New("nothing written")
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	if got := p.Stop(10 * time.Second); got != 7 {
		t.Errorf("exit code %d, want 7", got)
	}
}

func TestStopKillsAStubbornChildAndItsChildren(t *testing.T) {
	p := start(t, `trap '' TERM; sleep 600 & echo started; wait; sleep 600`)
	if err := p.WaitReady(t.Context(), func(context.Context) error {
		if p.Log() == "" {
			return errors.New("nothing written")
		}
		return nil
	}); err != nil {
		t.Fatal(err)
	}
	if got := p.Stop(10 * time.Millisecond); got != -1 {
		t.Errorf("exit code %d, want -1", got)
	}
	deadline := time.After(10 * time.Second)
	tick := time.NewTicker(10 * time.Millisecond)
	defer tick.Stop()
	for syscall.Kill(-p.cmd.Process.Pid, 0) == nil {
		select {
		case <-tick.C:
		case <-deadline:
			t.Fatal("the process group still runs after Stop")
		}
	}
}

func TestWaitReadyReturnsWhyTheChildExited(t *testing.T) {
	p := start(t, `echo no such luck; exit 3`)
	err := p.WaitReady(t.Context(), func(context.Context) error { return errors.New("not yet") })
	if err == nil || !strings.Contains(err.Error(), "no such luck") || !strings.Contains(err.Error(), "exit status 3") {
		t.Errorf("error %v, want the exit status and the log", err)
	}
}

func TestFreePortsAreDifferent(t *testing.T) {
	ports, err := FreePorts(20)
	if err != nil {
		t.Fatal(err)
	}
	seen := map[int]bool{}
	for _, p := range ports {
		if p == 0 || seen[p] {
			t.Errorf("port %d: zero or twice", p)
		}
		seen[p] = true
	}
}
