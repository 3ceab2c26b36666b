package diagnose

import (
	"slices"
	"time"
)

// Verdict says whether a pod's Envoy is scraped, and if not, what kind of reason there is.
type Verdict string

// The verdicts, the worst first. That is the order of Report.Rows.
const (
	Down       Verdict = "DOWN"         // it is a target, and the last scrape failed
	Cut        Verdict = "CUT"          // the last scrape exceeded a limit of its job
	NotATarget Verdict = "NOT A TARGET" // the rules of every job left it out, or made an invalid target of it
	NotSeen    Verdict = "NOT SEEN"     // no job looks where it is: namespace, selector, rights
	NoSidecar  Verdict = "NO SIDECAR"   // it asks for a sidecar, and has none
	NotReady   Verdict = "NOT READY"    // it has no address yet, or was not scraped yet
	Duplicate  Verdict = "DUPLICATE"    // another target of the same job has the same URL and labels
	Elsewhere  Verdict = "ELSEWHERE"    // another shard scrapes it, or the instance of another node
	Finished   Verdict = "FINISHED"     // its phase is Succeeded or Failed
	Scraped    Verdict = "SCRAPED"
)

// Report is what is known of all pods that have an Envoy or should have one, at one moment.
type Report struct {
	At      time.Time
	Rows    []Row    // one for each pod: worst verdict first, then by namespace and name
	Causes  []Cause  // of the rows that are not scraped, the most frequent first
	Funnels []Funnel // one for each job, in the order of the configuration
	Notes   []string // what the report cannot know, such as namespaces that may not be listed; one sentence each
}

// Row returns the row of a pod, or nil.
func (r *Report) Row(namespace, pod string) *Row {
	i := slices.IndexFunc(r.Rows, func(row Row) bool { return row.Pod == pod && row.Namespace == namespace })
	if i < 0 {
		return nil
	}
	return &r.Rows[i]
}

// Row is a pod.
type Row struct {
	Namespace string
	Pod       string
	Node      string // empty: not known
	IP        string // empty: it has none yet
	Workload  string // the controller in the words of kubectl, such as ReplicaSet/reviews-v1-7f9c; empty: not known
	Verdict   Verdict
	Reason    Reason
	Target    *Target // the target that the verdict is about; nil: there is none
	Targets   int     // how many targets of all jobs the pod has
}

// Reason says why a pod has its verdict.
type Reason struct {
	// Sentence is for people. It names job, rule, value and expression where there are such.
	Sentence string `json:"sentence"`
	// Hint is the nearest miss, or what to do; empty: none.
	Hint string `json:"hint,omitempty"`
	// Command is a line to copy that tells more; empty: none.
	Command string `json:"command,omitempty"`
	// Cause is a short key, the same for all pods with the same cause, such as rule:envoy-stats:1.
	Cause string `json:"cause"`

	// The rule that left it out. Rule counts from 1; 0: it was no rule.
	Job      string `json:"job,omitempty"`
	Rule     int    `json:"rule,omitempty"`
	RuleText string `json:"ruleInWords,omitempty"` // relabel.Words
	Value    string `json:"value,omitempty"`       // of the rule's source labels
	Regex    string `json:"regex,omitempty"`
}

// Target is the state of a target.
type Target struct {
	Job          string
	URL          string
	LastScrape   time.Time // zero: none yet
	Duration     time.Duration
	PageBytes    int64 // of the last page, uncompressed; 0: not known
	WireBytes    int64 // of the last page as it was sent
	Samples      int   // on the page
	Kept         int   // what metric relabeling left
	Err          string
	FailingSince time.Time // zero: the last scrape was good
	Failures     int       // scrapes in a row that failed
	SlowedSince  time.Time // since when it is asked less often; zero: it is not
	Every        time.Duration
}

// Cause is a group of rows that have one cause.
type Cause struct {
	Key     string  `json:"cause"` // Reason.Cause
	Verdict Verdict `json:"verdict"`
	Words   string  `json:"words"` // the sentence of the example, without what is only about the example
	Count   int     `json:"count"`
	Example string  `json:"example"` // namespace/pod
}

// Funnel says what became of the discovered targets of a job.
type Funnel struct {
	Job   string       `json:"job"`
	Steps []FunnelStep `json:"steps"`
}

// FunnelStep is one step: discovered, each rule that left something out, invalid, duplicates, shards, scraped.
type FunnelStep struct {
	Words string `json:"words"` // rule 1: keep __meta_kubernetes_pod_container_port_name =~ ".*-envoy-prom"
	Out   int    `json:"out"`   // targets that leave here
	Left  int    `json:"left"`  // targets that go on
	// Cause is Reason.Cause of the pods that leave here; empty: none leave, or with several causes.
	Cause string `json:"cause,omitempty"`
}
