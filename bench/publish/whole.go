package publish

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/envoy-scraper/envoy-scraper/bench/fleet"
	"github.com/envoy-scraper/envoy-scraper/bench/runner"
)

// Whole is what docs/performance.md shows of a report of bench whole. It is kept as bench/figures/whole.json.
type Whole struct {
	Commit   string `json:"commit"` // of our program
	Date     string `json:"date"`
	Machine  string `json:"machine"`
	Command  string `json:"command"`
	Fleet    string `json:"fleet"`
	Windows  string `json:"windows"`
	Others   string `json:"others_cores"` // the most that other programs used in a window
	Receiver string `json:"receiver"`
	Note     string `json:"note,omitempty"`
	Ways     []Way  `json:"ways"`
}

// Way is one line of the table. A figure of 0 was not measured or does not exist.
type Way struct {
	Name            string  `json:"name"` // in bench, as envoy-scraper-2.0-n3
	Title           string  `json:"title"`
	AgentCPU        float64 `json:"agent_cpu_seconds_per_million_samples"`
	ReceiverCPU     float64 `json:"receiver_cpu_seconds_per_million_samples"`
	BothCPU         float64 `json:"cpu_seconds_per_million_samples"`
	ReceiverShare   float64 `json:"receiver_cpu_against_direct"`
	WireBytes       float64 `json:"wire_bytes_per_sample"`
	StoredPerSecond float64 `json:"samples_stored_per_second"`
	StoredPerDue    float64 `json:"stored_per_due"`
	Lost            int64   `json:"lost"`
	RSSMiB          float64 `json:"rss_mib"`
	AnonymousMiB    float64 `json:"anonymous_mib"`
	ReceiverMiB     float64 `json:"receiver_rss_mib"`
	QueueBytes      float64 `json:"queue_bytes_per_sample"`
}

// wholeTitles are the programs of the ways; the delay is added.
var wholeTitles = map[string]string{
	runner.Direct: "Prometheus scrapes by itself", "envoy-scraper-2.0": "envoy-scraper, 2.0",
	"envoy-scraper-1.0": "envoy-scraper, 1.0", "prometheus-2.0": "Prometheus' agent, 2.0", "vmagent": "vmagent, 1.0",
}

// wholeTitle returns, for the row envoy-scraper-2.0-n3, "envoy-scraper, 2.0, 30 s".
func wholeTitle(row runner.WholeRow) string {
	name, _, _ := strings.Cut(row.Name, "-n")
	title := wholeTitles[name]
	if row.Delay != "" {
		title += ", delay " + delay(row.Delay)
	}
	return title
}

// delay writes 30s as 30 s, and 2m0s as 120 s.
func delay(text string) string {
	d, err := time.ParseDuration(text)
	if err != nil {
		return text
	}
	return decimals(d.Seconds(), 0) + " s"
}

// FromWholeReport reduces a report. It refuses one that the document should not show: not fleet S, ways missing, few
// windows, or samples missing.
func FromWholeReport(r runner.WholeReport, commit string) (Whole, error) {
	f := Whole{
		Commit: commit, Date: r.Date[:min(len(r.Date), len("2026-11-24"))],
		Machine: fmt.Sprintf("%d cores, %s", r.Cores, r.Machine), Command: "make bench-whole",
		Fleet: fmt.Sprintf("%s sidecars with %s series each, every %s", thousands(r.Fleet.Targets),
			thousands(r.Fleet.Series), seconds(r.Interval)),
		Receiver: "Prometheus 3.16",
	}
	var errs []error
	if strings.HasSuffix(commit, "-dirty") || commit == "" {
		errs = append(errs, fmt.Errorf("commit %q: the tree has changes that are not committed", commit))
	}
	usual := fleet.DefaultConfig()
	usual.Base, usual.OneAddress = r.Fleet.Base, r.Fleet.OneAddress
	if r.Fleet != usual {
		errs = append(errs, errors.New("the fleet is not S in its usual form"))
	}
	var noise float64
	for _, way := range runner.Ways() {
		i := slices.IndexFunc(r.Ways, func(row runner.WholeRow) bool { return row.Name == way.Name })
		if i < 0 {
			errs = append(errs, fmt.Errorf("way %s is missing", way.Name))
			continue
		}
		row := r.Ways[i]
		errs = append(errs, wholeRefusal(row))
		f.Ways = append(f.Ways, wholeWay(r, row))
		f.Windows = fmt.Sprintf("%d windows of %.0f s after %s", len(row.Windows),
			row.Median(func(w runner.WholeWindow) float64 { return w.Seconds }), delay(r.Warmup))
		_, most := row.Range(func(w runner.WholeWindow) float64 { return w.Noise() })
		noise = max(noise, most)
	}
	f.Others = fmt.Sprintf("%.2f", noise)
	return f, errors.Join(errs...)
}

func wholeRefusal(row runner.WholeRow) error {
	n, s := len(row.Windows), row.Median(func(w runner.WholeWindow) float64 { return w.Seconds })
	switch {
	case n < 3 || s < 59:
		return fmt.Errorf("%s: %d windows of %.0f s, want at least 3 of 60 s: set DURATION=3m or more", row.Name, n, s)
	case row.Peer:
		return nil
	case row.StoredPerDue() < 0.95 || row.StoredPerDue() > 1.05 || row.Account.Lost() > 0:
		return fmt.Errorf("%s: %.4f of the due samples stored in the windows, %d served samples not stored at the end",
			row.Name, row.StoredPerDue(), row.Account.Lost())
	}
	return nil
}

func wholeWay(r runner.WholeReport, row runner.WholeRow) Way {
	mib := func(of func(runner.WholeWindow) int64) float64 {
		return row.Median(func(w runner.WholeWindow) float64 { return float64(of(w)) }) / (1 << 20)
	}
	w := Way{
		Name: row.Name, Title: wholeTitle(row),
		AgentCPU:        row.Median(func(w runner.WholeWindow) float64 { return w.CPUPerMillion }),
		ReceiverCPU:     row.Median(func(w runner.WholeWindow) float64 { return w.ReceiverPerMillion }),
		BothCPU:         row.Median(runner.WholeWindow.Both),
		WireBytes:       row.Median(func(w runner.WholeWindow) float64 { return w.WirePerSample }),
		StoredPerSecond: row.Median(runner.WholeWindow.StoredPerSecond), StoredPerDue: row.StoredPerDue(),
		Lost:         row.Account.Lost(),
		RSSMiB:       mib(func(w runner.WholeWindow) int64 { return w.RSSMedian }),
		AnonymousMiB: mib(func(w runner.WholeWindow) int64 { return w.AnonymousMedian }),
		ReceiverMiB:  mib(func(w runner.WholeWindow) int64 { return w.ReceiverRSSMedian }),
		QueueBytes:   row.Median(func(w runner.WholeWindow) float64 { return w.QueuePerSample }),
	}
	w.ReceiverShare = r.AgainstDirect(w.ReceiverCPU)
	return w
}

// table is the document's: a way per line. Without figures it says how to get them.
func (f Whole) table() string {
	if len(f.Ways) == 0 {
		return "Not measured yet: `make bench-whole`.\n"
	}
	var b strings.Builder
	b.WriteString("| way | agent | receiver | both | receiver beside direct | wire B/sample | stored/s | stored/due" +
		" | lost | agent anonymous MiB | agent RSS MiB | receiver RSS MiB | queue B/sample |\n")
	b.WriteString("|" + strings.Repeat("---|", 13) + "\n")
	for _, w := range f.Ways {
		cells := []string{
			w.Title, decimals(w.AgentCPU, 2), decimals(w.ReceiverCPU, 2), decimals(w.BothCPU, 2),
			decimals(w.ReceiverShare, 2), decimals(w.WireBytes, 1), thousands(int(w.StoredPerSecond)),
			decimals(w.StoredPerDue, 3), fmt.Sprint(w.Lost), mib(w.AnonymousMiB), mib(w.RSSMiB), mib(w.ReceiverMiB),
			decimals(w.QueueBytes, 1),
		}
		b.WriteString("| " + strings.Join(cells, " | ") + " |\n")
	}
	source := fmt.Sprintf("%s; %s; the receiver is %s. Commit %s, %s, %s. Measure it again: `%s`. %s "+
		"Other programs used at most %s cores in a window.", f.Fleet, f.Windows, f.Receiver, f.Commit, f.Machine,
		f.Date, f.Command, f.Note, f.Others)
	b.WriteString("\n" + wrap(source, 120) + "\n")
	return b.String()
}

// wholeMarker is the command in the markers of the table's block.
const wholeMarker = "make bench-whole"

func wholeFile(root string) string { return filepath.Join(root, "bench/figures/whole.json") }

// readWhole returns the kept figures: none if they were never measured.
func readWhole(root string) (f Whole, err error) {
	text, err := os.ReadFile(wholeFile(root))
	if errors.Is(err, os.ErrNotExist) {
		return f, nil
	}
	if err == nil {
		err = json.Unmarshal(text, &f)
	}
	if err != nil {
		return f, fmt.Errorf("read figures: %w", err)
	}
	return f, nil
}

// WriteWhole keeps the figures and writes all documents. It returns the names of the files.
func WriteWhole(root string, f Whole) ([]string, error) { return write(root, wholeFile(root), f) }
