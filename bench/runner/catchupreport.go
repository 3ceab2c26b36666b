package runner

import (
	"fmt"
	"io"
)

// CatchUpReport says how fast each way drains what was queued while the receiver was down.
type CatchUpReport struct {
	WholeReport
	Outage   string       `json:"outage"`
	CatchUps []CatchUpRow `json:"catch_ups"`
}

// CatchUpRow is one way's result. The drain begins with the first sample that the new process stores.
type CatchUpRow struct {
	WholeRow
	Down               float64 `json:"down_seconds"`          // from the stop of the receiver until it was ready again
	Usual              float64 `json:"usual_backlog_samples"` // queued before: see usualBacklog
	Backlog            float64 `json:"backlog_samples"`       // queued when it was started
	First              float64 `json:"first_sample_seconds"`  // from its start to the first stored sample
	Drain              float64 `json:"drain_seconds"`         // from there until the backlog was as usual
	Stored             float64 `json:"samples_stored"`        // meanwhile: the backlog and what was scraped
	AgentPerMillion    float64 `json:"cpu_seconds_per_million_samples"`
	ReceiverPerMillion float64 `json:"receiver_cpu_seconds_per_million_samples"`
	Others             float64 `json:"others_cores"`
}

// PerSecond is the number of samples stored per second during the drain.
func (r CatchUpRow) PerSecond() float64 { return ratio(r.Stored, r.Drain) }

// between fills in the figures from the counters before the receiver was stopped and before it was started, and from
// looks: the first when it was ready, the last when the queue was drained.
func (r *CatchUpRow) between(stopped, started wholeSnapshot, looks []wholeSnapshot, usual float64) {
	ready, end := looks[0], looks[len(looks)-1]
	first := started // the last look without a sample
	for _, s := range looks {
		if s.stored == 0 {
			first = s
		}
	}
	r.Down, r.Usual, r.Backlog = ready.at.Sub(stopped.at).Seconds(), usual, started.pending
	r.First, r.Drain = first.at.Sub(started.at).Seconds(), end.at.Sub(first.at).Seconds()
	r.Stored = end.stored - first.stored
	agent, store := end.agentCPU-first.agentCPU, end.receiverCPU-first.receiverCPU
	r.AgentPerMillion = ratio(agent.Seconds()*1e6, r.Stored)
	r.ReceiverPerMillion = ratio(store.Seconds()*1e6, r.Stored)
	ours := agent + store + end.fleetCPU - first.fleetCPU + end.runnerCPU - first.runnerCPU
	busy := end.busy - first.busy + end.stolen - first.stolen
	r.Others = max(0, ratio((busy-ours).Seconds(), r.Drain))
}

func (r CatchUpRow) String() string {
	return fmt.Sprintf("%.0f samples queued; drained in %.1f s at %.0f samples/s, agent %.3f + receiver %.3f "+
		"CPU-s/M samples", r.Backlog, r.Drain, r.PerSecond(), r.AgentPerMillion, r.ReceiverPerMillion)
}

func (r CatchUpReport) table() [][]string {
	cells := [][]string{{
		"way", "down s", "usual backlog", "backlog", "first sample s", "drain s", "stored/s", "agent CPU-s/M samples",
		"receiver", "both", "not stored", "others' cores",
	}}
	for _, row := range r.CatchUps {
		cells = append(cells, []string{
			row.Name, digits(1)(row.Down), digits(0)(row.Usual), digits(0)(row.Backlog), digits(1)(row.First),
			digits(1)(row.Drain), digits(0)(row.PerSecond()), digits(3)(row.AgentPerMillion),
			digits(3)(row.ReceiverPerMillion), digits(3)(row.AgentPerMillion + row.ReceiverPerMillion),
			fmt.Sprint(row.Account.Lost()), digits(2)(row.Others),
		})
	}
	return cells
}

func (r CatchUpReport) head() []string {
	lines := append(r.WholeReport.head(), "the receiver was down for "+r.Outage+" and its start; stored/s and CPU are "+
		"those from its first sample until the backlog was as before")
	for _, row := range r.CatchUps {
		lines = append(lines, row.WholeRow.head(r.Warmup))
	}
	return lines
}

// WriteText prints the report for a terminal.
func (r CatchUpReport) WriteText(w io.Writer) error { return writeTextTable(w, r.head(), r.table()) }

// WriteMarkdown prints the report for a document.
func (r CatchUpReport) WriteMarkdown(w io.Writer) error {
	return writeMarkdownTable(w, r.head(), r.table())
}

// WriteJSON keeps everything.
func (r CatchUpReport) WriteJSON(w io.Writer) error { return writeJSON(w, r) }
