"""`python -m cnnlab doctor`, and `python -m cnnlab download mnist`."""

import sys

if sys.argv[1:2] == ["download"]:
    from cnnlab.download import main
else:
    from cnnlab.doctor import main

sys.exit(main())
