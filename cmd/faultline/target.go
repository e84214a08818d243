package main

import (
	"context"
	"errors"
	"fmt"

	"github.com/faultline-lab/faultline/internal/run"
	"github.com/faultline-lab/faultline/internal/system/compose"
	"github.com/faultline-lab/faultline/parameter"
)

// Where a system can run.
const (
	targetLocal   = "local"
	targetCompose = "compose"
)

// findStack finds the stack that is to run the plans, and refuses what it cannot do before anything starts. It
// returns nil for local processes.
func findStack(ctx context.Context, target, project string, worked *plans) (*compose.Stack, error) {
	switch target {
	case targetLocal:
		return nil, nil
	case targetCompose:
	default:
		if near := parameter.Nearest(target, []string{targetLocal, targetCompose}); near != "" {
			return nil, usage(fmt.Errorf("no target %q; did you mean %q?", target, near))
		}
		return nil, usage(fmt.Errorf("no target %q; there are: %s, %s", target, targetLocal, targetCompose))
	}
	stack, err := compose.Find(ctx, project)
	if err != nil {
		return nil, broken(err)
	}
	var errs []error
	said := map[string]bool{} // most is the same for every variant
	for _, p := range worked.plans {
		if err := run.CheckStack(p, worked.system, stack); err != nil && !said[err.Error()] {
			said[err.Error()] = true
			errs = append(errs, err)
		}
	}
	if err := errors.Join(errs...); err != nil {
		return nil, broken(err)
	}
	return stack, nil
}
