import logging

logger = logging.getLogger(__name__)


def restore(checkpoint, optimizer):
    try:
        optimizer.load_state_dict(checkpoint["optimizer"])
    except ValueError:
        logger.error("the checkpoint is of another model")
        raise


def restore_or_stop(checkpoint, optimizer):
    try:
        optimizer.load_state_dict(checkpoint["optimizer"])
    except ValueError as error:
        raise SystemExit(f"cannot go on: {error}") from error
