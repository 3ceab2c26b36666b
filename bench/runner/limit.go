package runner

import "fmt"

// enoughDescriptors returns an error if a fleet would have more descriptors open than a process may have.
func enoughDescriptors(targets int) error {
	limit, err := descriptorLimit()
	if err != nil {
		return err
	}
	return enoughOf(limit, targets)
}

// enoughOf counts a listener and a connection for each target, and some for the other files of a fleet.
func enoughOf(limit uint64, targets int) error {
	const otherFiles = 200
	if need := uint64(2*targets + otherFiles); limit < need {
		return fmt.Errorf("a fleet of %d targets needs %d descriptors, and a process may have %d: run `ulimit -n %d` "+
			"first (as root, if the hard limit is lower)", targets, need, limit, need)
	}
	return nil
}
