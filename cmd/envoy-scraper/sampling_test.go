package main

import (
	"fmt"
	"testing"
	"time"

	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"
	"go.uber.org/zap/zaptest/observer"
)

// TestSamplingIsZaps logs messages at different rates through zap's sampler and ours. Both write the same entries.
func TestSamplingIsZaps(t *testing.T) {
	ours, oursSeen := observer.New(zapcore.InfoLevel)
	zaps, zapsSeen := observer.New(zapcore.InfoLevel)
	cores := []zapcore.Core{newSampling(ours), zapcore.NewSamplerWithOptions(zaps, time.Second, 100, 100)}
	for i := range 5000 {
		at := time.Unix(1_700_000_000, 0).Add(time.Duration(i) * 3 * time.Millisecond)
		for _, c := range cores {
			for _, e := range []zapcore.Entry{
				{Level: zapcore.WarnLevel, Message: "target down"}, {Level: zapcore.InfoLevel, Message: "target down"},
				{Level: zapcore.DebugLevel, Message: "target down"}, {Level: zapcore.InfoLevel, Message: "target up"},
			} {
				if e.Time = at; e.Message == "target up" && i%50 > 0 {
					continue
				}
				if with := c.With([]zapcore.Field{zap.Int("i", i)}); with.Check(e, nil) != nil {
					with.Check(e, nil).Write()
				}
			}
		}
	}
	got, want := fmt.Sprint(oursSeen.All()), fmt.Sprint(zapsSeen.All())
	if oursSeen.Len() < 1000 || oursSeen.Len() > 9000 || got != want {
		t.Errorf("%d entries, want those %d of zap", oursSeen.Len(), zapsSeen.Len())
	}
}

// TestSamplingIsBounded logs more messages than there are counts for.
func TestSamplingIsBounded(t *testing.T) {
	core, seen := observer.New(zapcore.InfoLevel)
	s := newSampling(core).(sampling)
	for i := range 3 * maxMessages {
		s.Check(zapcore.Entry{Level: zapcore.InfoLevel, Message: fmt.Sprint(i), Time: time.Unix(1, 0)}, nil).Write()
	}
	if n := len(s.counts.byMessage); n > maxMessages || seen.Len() != 3*maxMessages {
		t.Errorf("%d counts, %d entries", n, seen.Len())
	}
}
