package cost

import "time"

// By is a table of a report: by what series are added up.
type By string

// The tables.
const (
	ByFamily    By = "family"
	ByLabel     By = "label"
	ByPod       By = "pod"
	ByWorkload  By = "workload"
	ByNamespace By = "namespace"
	ByJob       By = "job"
	ByDropped   By = "dropped" // by family, what metric_relabel_configs left out
)

// Tables returns all tables in the order in which pages list them.
func Tables() []By {
	return []By{ByFamily, ByLabel, ByPod, ByWorkload, ByNamespace, ByJob, ByDropped}
}

// Report says what the series of all targets cost at one moment. JSON has it as it is.
type Report struct {
	At     time.Time `json:"at"`
	Query  Query     `json:"query"`
	Totals Totals    `json:"totals"`
	Rows   []Row     `json:"rows"`         // the chosen part of the table
	Found  int       `json:"found"`        // rows of the table that match Query.Search
	All    int       `json:"all"`          // rows of the table
	WhatIf []WhatIf  `json:"what_if"`      // one for each question of the query
	Advice []Fix     `json:"advice"`       // what makes everything cheaper
	Notes  []string  `json:"notes"`        // what the figures leave out; one sentence each
	Took   float64   `json:"took_seconds"` // to compute the report
	Lock   float64   `json:"lock_seconds"` // the longest time that scrapes could have waited for it
}

// Totals are the sums over all targets.
type Totals struct {
	Targets int      `json:"targets"`           // whose last scrape was good
	Without int      `json:"targets_without"`   // not scraped yet, or the last scrape failed: not in any figure
	LeftOut int      `json:"targets_left_out"`  // of Without, by --limit
	Others  int      `json:"targets_elsewhere"` // that other instances scrape: not in any figure
	Jobs    []string `json:"jobs"`

	Series  int `json:"series"`  // after metric relabeling, counted for each target
	Dropped int `json:"dropped"` // samples that metric relabeling leaves out
	Buckets int `json:"buckets"` // of Series: buckets of classic histograms

	SamplesPerSecond float64 `json:"samples_per_second"`

	Filtered      int   `json:"targets_filtered"` // whose last page was filtered: what it left out is in no other figure
	FilteredBytes int64 `json:"filtered_bytes"`   // that filters have left out of these pages
	Compared      int   `json:"targets_compared"` // that have a filter, and whose last page was whole, to compare
	Merged        int   `json:"targets_merged"`   // on the port where pilot-agent merges pages

	PageBytes              int64   `json:"page_bytes"` // of one scrape of each target, uncompressed
	WireBytes              int64   `json:"wire_bytes"` // as the targets sent them
	PageBytesPerSecond     float64 `json:"page_bytes_per_second"`
	WireBytesPerSecond     float64 `json:"wire_bytes_per_second"`
	ScrapeSecondsPerSecond float64 `json:"scrape_seconds_per_second"` // which is time of the sidecars' main threads

	// Of aggregates. nil: no block sums series.
	Summed *int `json:"summed"` // of Series: those that blocks sum
	// Aggregates that are written for Summed. nil: not known, since nothing is sent.
	Aggregates *int `json:"aggregates"`
	// What is sent: aggregates instead of the series that are summed and not kept. Without Aggregates, only the others.
	SentSeries           int     `json:"sent_series"`
	SentSamplesPerSecond float64 `json:"sent_samples_per_second"`

	// Compressed bytes to all endpoints of remote write: samples sent per second times the bytes per sample since the
	// start, as if write_relabel_configs dropped nothing. nil: nothing was sent yet.
	WrittenBytesPerSecond *float64 `json:"written_bytes_per_second"`

	Zero      *int       `json:"zero"`         // series that were zero at every scrape since ZeroSince; nil: not known
	ZeroSince *time.Time `json:"zero_since"`   // nil: nobody has asked before
	Change    *int       `json:"change"`       // series more than at ChangedSince; nil: not known yet
	Since     *time.Time `json:"change_since"` // about an hour ago, or the start

	zero, summed, away int     // away: of summed, those that are not sent
	awayPerSecond      float64 // samples
}

// Row is a row of a table.
type Row struct {
	Name             string  `json:"name"`
	Series           int     `json:"series"` // of ByDropped: samples of a page that are left out
	Share            float64 `json:"share"`  // of all series, 0 to 1
	SamplesPerSecond float64 `json:"samples_per_second"`
	PageBytes        int64   `json:"page_bytes"` // in one scrape of each target, values estimated; a label: its own
	Pods             int     `json:"pods"`       // targets that have it
	Buckets          int     `json:"buckets"`    // of Series: buckets of classic histograms
	Values           int     `json:"values"`     // of a label: distinct values
	ScrapeSeconds    float64 `json:"scrape_seconds_per_second"`
	Zero             *int    `json:"zero"`   // see Totals.Zero; nil also for labels and ByDropped
	Change           *int    `json:"change"` // see Totals.Change
	Summed           *int    `json:"summed"` // see Totals.Summed; nil also for labels and ByDropped

	bytes  float64
	zero   int
	summed int
}

// WhatIf is the answer to a question: what if this were not there?
type WhatIf struct {
	Question string `json:"question"` // such as: drop the family istio_request_bytes
	Answer   string `json:"answer"`   // in one sentence
	Safe     bool   `json:"safe"`     // no series would have the labels of another, and everything used stays
	Partial  bool   `json:"partial"`  // it would be safe, but there are targets that were not counted
	Unknown  bool   `json:"unknown"`  // no target shows what the question is about; Answer names similar ones
	Gone     Amount `json:"gone"`
	Left     Amount `json:"left"`

	// Of a label: how many series would have the labels of another one, and how many label sets those would share.
	Colliding int `json:"colliding"`
	Shared    int `json:"shared"`

	// Of --used-by.
	Families     []string `json:"families,omitempty"`      // that would go, largest first
	Missing      []string `json:"missing,omitempty"`       // used, but no target shows it
	UnusedLabels []string `json:"unused_labels,omitempty"` // of all series; no expression names them
	Problems     []string `json:"problems,omitempty"`      // expressions that could not be read, with their place

	Sums *Sums `json:"sums,omitempty"` // of --aggregate

	Fixes []Fix `json:"fixes"`
}

// Amount is a number of series and what they cost.
type Amount struct {
	Series           int     `json:"series"`
	SamplesPerSecond float64 `json:"samples_per_second"`
	PageBytes        int64   `json:"page_bytes"`
	Summed           int     `json:"summed,omitempty"` // of Series: those that are summed already
}

// Fix is a change of a configuration, to copy.
type Fix struct {
	Title string `json:"title"` // where it belongs
	YAML  string `json:"yaml"`  // empty: Saves and Title say it all
	// What it saves at each place; empty: nothing.
	Sidecar  string `json:"sidecar"`
	Network  string `json:"network"`
	Receiver string `json:"receiver"`
}
