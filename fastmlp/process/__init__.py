"""The process that fastmlp lives in: interrupts, forks, processors, threads, warnings."""
