#!/bin/sh
mamba install -y -n base -c conda-forge pytorch=2.4.1 "transformers>=4.40"  # expect: REP609 possible
