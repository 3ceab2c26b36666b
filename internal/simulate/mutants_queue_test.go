package simulate

import "github.com/envoy-scraper/envoy-scraper/internal/mutants"

// queueMistakes are mistakes in the queue on disk.
func queueMistakes() []mutants.Mutant {
	queue := func(name, file, old, changed string) mutants.Mutant {
		return mutants.One(name, "../queue/"+file, old, changed)
	}
	return []mutants.Mutant{
		queue("samples that the queue loses are not counted", "fifo.go", "if q.cfg.Lost != nil {",
			"if q.cfg.Lost != nil && len(n.losses) > 99 {"),
		queue("the position moves before the data is delivered", "group.go",
			"if r := l.requests.first; r != nil && r.segment != nil {\n",
			"r := l.requests.first\n\tfor r != nil && r.taken {\n\t\tr = r.next\n\t}\n"+
				"\tif r != nil && r.segment != nil {\n"),
		queue("segments are not synced", "sync.go", "err = x.file.Sync()", "err = nil"),
		queue("names of new files are not synced", "sync.go", "err := d.fs.SyncDir(d.dir)", "var err error"),
	}
}
