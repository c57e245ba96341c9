"""`python -m cnnlab doctor`."""

import sys

from cnnlab.doctor import main

sys.exit(main())
