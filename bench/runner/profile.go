package runner

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"time"
)

// pprofText is an output of `go tool pprof` that is kept.
type pprofText struct {
	file, profile string
	args          []string
}

const tracesText = "cpu-traces.txt"

var pprofTexts = []pprofText{
	{"cpu-top.txt", "cpu.pb.gz", []string{"-top", "-nodecount=80"}},
	{tracesText, "cpu.pb.gz", []string{"-traces"}},
	{"cpu-cum.txt", "cpu.pb.gz", []string{"-top", "-cum", "-nodecount=120"}},
	{"heap-top.txt", "heap.pb.gz", []string{"-top", "-sample_index=inuse_space", "-nodecount=60"}},
	{"alloc-top.txt", "heap.pb.gz", []string{"-top", "-sample_index=alloc_space", "-nodecount=60"}},
}

// Profile runs the first case, which is one of ours, and writes its CPU profile
// of one window and its heap profile to c.Out, with what `go tool pprof -top`
// says of them and the shares of the program's parts. It returns these and the text of the CPU profile.
func Profile(ctx context.Context, c Config, progress io.Writer) (text string, err error) {
	k := c.Cases[0]
	k.Args = append(k.Args, "--web.enable-pprof")
	b, err := newBed(ctx, c, k.Fleet, k.Agent.Accept, filepath.Join(c.Out, k.dir()))
	defer func() { err = errors.Join(err, b.stop()) }()
	if err != nil {
		return "", err
	}
	_, _ = fmt.Fprintf(progress, "%s: %s every %v; warm-up %v, then a profile of %v\n", k.Name, describe(k.Fleet),
		c.Interval, c.Warmup, c.Window)
	if err := b.startAgent(k, k.Fleet.TargetList()); err != nil {
		return "", err
	}
	if err := b.rest(ctx, c.Warmup); err != nil {
		return "", err
	}
	begin, err := b.snapshot(ctx)
	if err != nil {
		return "", err
	}
	if err := b.keepProfiles(ctx); err != nil {
		return "", err
	}
	end, err := b.snapshot(ctx)
	if err != nil {
		return "", err
	}
	now, err := processUsage(b.agent.pid())
	if err != nil {
		return "", err
	}
	_, _ = fmt.Fprintf(progress, "  while it was profiled: %s\n", b.between(begin, end, []usage{now}))
	if _, err := b.stopAgent(); err != nil {
		return "", err
	}
	top, err := writePprofTexts(ctx, c.Out, pprofTexts)
	if err != nil {
		return "", err
	}
	traces, err := os.ReadFile(filepath.Join(c.Out, tracesText))
	if err != nil {
		return "", err
	}
	byPart, err := partsTable(string(traces))
	if err != nil {
		return "", err
	}
	return top + "\n" + byPart, os.WriteFile(filepath.Join(c.Out, "cpu-parts.txt"), []byte(byPart), 0o644)
}

func (b *bed) keepProfiles(ctx context.Context) error {
	for _, p := range []struct{ file, path string }{
		{"cpu.pb.gz", fmt.Sprintf("profile?seconds=%d", max(1, int(b.config.Window/time.Second)))},
		{"heap.pb.gz", "heap?gc=1"},
	} {
		url := "http://" + b.web + "/debug/pprof/" + p.path
		if err := keepProfile(ctx, url, filepath.Join(b.config.Out, p.file)); err != nil {
			return err
		}
	}
	return nil
}

// keepProfile writes the profile that a program shows at url to a file.
func keepProfile(ctx context.Context, url, file string) error {
	body, err := fetchSlow(ctx, http.MethodGet, url)
	if err != nil {
		return err
	}
	return os.WriteFile(file, body, 0o644)
}

// writePprofTexts returns the first text.
func writePprofTexts(ctx context.Context, dir string, texts []pprofText) (first string, err error) {
	for _, t := range texts {
		args := append([]string{"tool", "pprof"}, t.args...)
		text, err := exec.CommandContext(ctx, "go", append(args, filepath.Join(dir, t.profile))...).Output()
		if err != nil {
			return "", fmt.Errorf("go tool pprof of %s: %w", t.profile, err)
		}
		if err := os.WriteFile(filepath.Join(dir, t.file), text, 0o644); err != nil {
			return "", err
		}
		if first == "" {
			first = string(text)
		}
	}
	return first, nil
}
