package exposition

import "github.com/prometheus/prometheus/model/histogram"

// histogramCheck is what is wrong with the native histogram being taken, which only matters if relabeling keeps it. It
// is zero for other samples.
//
// Prometheus looks at overBuckets first, then at sample_limit, then at invalid.
type histogramCheck struct {
	overBuckets error // why its resolution could not be lowered to the limits
	invalid     error // why its buckets are wrong
	refused     error // one of the two, if the scrape fails because of it
}

// validate returns an error if the buckets of a histogram contradict its count or its schema.
func validate(h *histogram.Histogram, fh *histogram.FloatHistogram) error {
	if h != nil {
		return h.Validate()
	}
	return fh.Validate()
}

// limitHistogram lowers the resolution of a histogram to what the options allow.
func (o *Options) limitHistogram(h *histogram.Histogram, fh *histogram.FloatHistogram) error {
	for {
		var schema int32
		var buckets int
		if h != nil {
			schema, buckets = h.Schema, len(h.PositiveBuckets)+len(h.NegativeBuckets)
		} else {
			schema, buckets = fh.Schema, len(fh.PositiveBuckets)+len(fh.NegativeBuckets)
		}
		tooFine := histogram.IsExponentialSchemaReserved(schema) && schema > o.MaxHistogramSchema
		tooMany := o.BucketLimit > 0 && buckets > o.BucketLimit
		to := schema - 1
		switch {
		case tooFine:
			to = o.MaxHistogramSchema
		case !tooMany:
			return nil
		case !histogram.IsExponentialSchema(schema) || schema <= histogram.ExponentialSchemaMin:
			return ErrBucketLimit
		}
		var err error
		if h != nil {
			err = h.ReduceResolution(to)
		} else {
			err = fh.ReduceResolution(to)
		}
		if err != nil {
			return err
		}
	}
}
