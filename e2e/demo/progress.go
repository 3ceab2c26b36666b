package main

import (
	"fmt"
	"io"
	"os"
	"sync"
	"time"
)

// progress shows what the demo waits for and for how long. On a terminal it updates one line every second; otherwise it
// prints a line every 15 seconds.
type progress struct {
	w        io.Writer
	terminal bool
}

func newProgress(f *os.File) progress {
	info, err := f.Stat()
	return progress{w: f, terminal: err == nil && info.Mode()&os.ModeCharDevice != 0}
}

// during runs fn and shows how long it takes. fn may report details with detail.
func (p progress) during(what string, fn func(detail func(string)) error) error {
	var mu sync.Mutex
	var state string
	start := time.Now()
	stop, stopped := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(stopped)
		interval := 15 * time.Second
		if p.terminal {
			interval = time.Second
		}
		ticker := time.NewTicker(interval)
		defer ticker.Stop()
		for {
			select {
			case <-stop:
				return
			case <-ticker.C:
				mu.Lock()
				p.line(what, " ... ", time.Since(start), state, p.terminal)
				mu.Unlock()
			}
		}
	}()
	err := fn(func(s string) {
		mu.Lock()
		defer mu.Unlock()
		state = s
	})
	close(stop)
	<-stopped
	end := ": "
	if err != nil {
		end = ": failed after "
	}
	p.line(what, end, time.Since(start), "", false)
	return err
}

func (p progress) line(what, between string, took time.Duration, state string, again bool) {
	text := fmt.Sprintf("%s%s%.0f s", what, between, took.Seconds())
	if state != "" {
		text += ", " + state
	}
	switch {
	case again:
		fmt.Fprintf(p.w, "\r%-78s", text)
	case p.terminal:
		fmt.Fprintf(p.w, "\r%-78s\n", text)
	default:
		fmt.Fprintln(p.w, text)
	}
}
