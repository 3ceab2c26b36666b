package runner

import (
	"context"
	"errors"
	"fmt"
	"io"
	"path/filepath"
	"time"
)

// Whole measures the ways one after another: what the agent and the store need together.
func Whole(ctx context.Context, c WholeConfig, progress io.Writer) (WholeReport, error) {
	c = c.fit()
	report := newWholeReport(c)
	for _, w := range c.Ways {
		_, _ = fmt.Fprintf(progress, "%s: %s every %v; warm-up %v, then %d windows of %v\n",
			w.Name, describe(c.Fleet), c.Interval, c.Warmup, c.Windows, c.Window)
		row, err := measureWay(ctx, c, w, progress)
		if err != nil {
			return report, fmt.Errorf("%s: %w", w.Name, err)
		}
		report.Ways = append(report.Ways, row)
	}
	return report, nil
}

// bound is how long a way may take at most: warm-up, windows, one more for a profile, and the rest.
func (c WholeConfig) bound(w Way) time.Duration {
	return c.Warmup + time.Duration(c.Windows+1)*c.Window + c.Outage + w.delay(c.Interval) + 3*overhead
}

func measureWay(ctx context.Context, c WholeConfig, w Way, progress io.Writer) (row WholeRow, err error) {
	ctx, cancel := context.WithTimeout(ctx, c.bound(w))
	defer cancel()
	b, err := newWholeBed(ctx, c, w)
	defer func() { err = errors.Join(err, b.stop()) }()
	if err != nil {
		return row, err
	}
	row = newWholeRow(c, w)
	if err := b.rest(ctx, c.Warmup); err != nil {
		return row, err
	}
	for n := range c.Windows {
		window, err := b.window(ctx)
		if err != nil {
			return row, err
		}
		row.Windows = append(row.Windows, window)
		_, _ = fmt.Fprintf(progress, "  window %d: %s\n", n+1, window)
	}
	if c.Profile {
		if err := b.profileStore(ctx); err != nil {
			return row, err
		}
	}
	row.Account, err = b.account(ctx)
	return row, err
}

// storeTexts are the outputs of `go tool pprof` that are kept of a store's profile.
var storeTexts = []pprofText{
	{"receiver-cpu-top.txt", "receiver-cpu.pb.gz", []string{"-top", "-nodecount=80"}},
	{"receiver-cpu-cum.txt", "receiver-cpu.pb.gz", []string{"-top", "-cum", "-nodecount=120"}},
}

// profileStore writes the store's CPU profile of one more window to the way's folder, and its top functions.
func (b *wholeBed) profileStore(ctx context.Context) error {
	seconds := max(1, int(b.config.Window/time.Second))
	source := fmt.Sprintf("%s/debug/pprof/profile?seconds=%d", b.receiverURL, seconds)
	if err := keepProfile(ctx, source, filepath.Join(b.dir, storeTexts[0].profile)); err != nil {
		return fmt.Errorf("profile the receiver: %w", err)
	}
	_, err := writePprofTexts(ctx, b.dir, storeTexts)
	return err
}
