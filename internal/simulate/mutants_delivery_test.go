package simulate

import "github.com/envoy-scraper/envoy-scraper/internal/mutants"

// deliveryMistakes are mistakes between a batch and a receiver, without the queue on disk.
func deliveryMistakes() []mutants.Mutant {
	deliver := func(name, file, old, changed string) mutants.Mutant {
		return mutants.One(name, "../remotewrite/deliver/"+file, old, changed)
	}
	pack := func(name, file, old, changed string) mutants.Mutant {
		return mutants.One(name, "../remotewrite/pack/"+file, old, changed)
	}
	return []mutants.Mutant{
		deliver("Retry-After is ignored", "attempt.go",
			"if quiet := s.receiver.quiet(); quiet > 0 {", "if quiet := s.receiver.quiet(); quiet < 0 {"),
		deliver("a division drops its last part", "isolate.go", "for len(d.parts) > 0 {", "for len(d.parts) > 1 {"),
		deliver("a request that failed is dropped after a minute", "attempt.go",
			"if quiet := s.receiver.quiet(); quiet > 0 {",
			"if t.made > 12 {\n\t\t\treturn verdict{}\n\t\t}\n\t\tif quiet := s.receiver.quiet(); quiet > 0 {"),
		deliver("503 is taken for success", "answer.go", "case a.Err != nil || a.Status >= 500:",
			"case a.Status == 503:\n\t\treturn Accepted\n\tcase a.Err != nil || a.Status >= 500:"),
		deliver("a lost answer is taken for success", "answer.go", "case a.Err != nil || a.Status >= 500:",
			"case a.Err != nil && !a.Unsent:\n\t\treturn Accepted\n\tcase a.Err != nil || a.Status >= 500:"),
		deliver("a group is acknowledged although a stop interrupted it", "sender.go",
			"if !s.deliverGroup(ctx, group) {\n\t\t\t\treturn // still queued\n\t\t\t}",
			"if !s.deliverGroup(ctx, group) {\n\t\t\t\ts.lane.Ack(group)\n\t\t\t\treturn\n\t\t\t}"),
		deliver("the first of two streams that do not fit into one request is dropped", "sender.go",
			"if !most.allow(p.size.with(z)) && !s.deliverNext(ctx, p, most) {",
			"if !most.allow(p.size.with(z)) {\n\t\tp.reset()\n\t}\n\tif false {"),
		deliver("requests of fragments are not sent", "sender.go",
			"return s.deliverNext(ctx, &s.columns, most) && s.deliverNext(ctx, &s.fragments, most)",
			"return s.deliverNext(ctx, &s.columns, most)"),
		pack("write_relabel_configs are ignored", "append.go",
			"if len(s.WriteRelabelConfigs) > 0 {", "if len(s.WriteRelabelConfigs) > 99 {"),
		mutants.Of("one lane ignores Retry-After",
			mutants.Change("../remotewrite/deliver/attempt.go", "\trandom   *rand.Rand     // varies its pauses\n",
				"\trandom   *rand.Rand\n\thasty bool\n"),
			mutants.Change("../remotewrite/deliver/attempt.go", "quiet > 0 {", "quiet > 0 && !s.hasty {"),
			mutants.Change("../remotewrite/deliver/sender.go", "report: report, random: random}",
				"report: report, random: random, hasty: lane.(interface{ Index() int }).Index() == 1}"),
		),
		deliver("a 2.0 receiver's count of written samples is ignored", "attempt.go",
			"f.Accepted, f.Newest = min(n, left), v.Newest", "f.Accepted, f.Newest = left+0*n, v.Newest"),
		deliver("a request that a 1.0 receiver rolled back counts as stored in part", "attempt.go",
			"\t\tv.result = rejected\n\t\ts.report(f)\n",
			"\t\tf.Accepted, f.Refused, f.Complaint = v.Samples-1, 1, complaintOf(v.answer)\n\t\ts.report(f)\n"),
		deliver("a request that is too large is refused", "answer.go", "\t\treturn Split\n", "\t\treturn Refused\n"),
		deliver("a request without authorization is refused", "answer.go", "return SlowRetry // tokens rotate",
			"return Refused"),
	}
}
